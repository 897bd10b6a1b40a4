/* Stands in an image where the host's interpreter expects its dynamic linker. So it is what runs when
 * the container executes /proc/self/exe: it keeps a handle of that file and becomes /attack.
 * It has no C library, whose start-up code would take the interpreter's program headers for its own. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/syscall.h>

static long call(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}

void _start(void)
{
	long fd = call(SYS_open, (long)"/proc/self/exe", O_PATH, 0);
	char number[2] = { '0' + fd, 0 };
	const char *argv[] = { "attack", number, 0 };
	const char *envp[] = { 0 };
	call(SYS_execve, (long)"/attack", (long)argv, (long)envp);
	call(SYS_exit, 1, 0, 0);
}

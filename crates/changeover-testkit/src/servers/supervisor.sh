# What every server runs under. The test process holds the other end of stdin: when it is gone, however it ended,
# `read` fails, the server is ended and its folder removed.
#
# $1: the folder; the others: the server's command.
#
# Orders, one a line, each answered with a line. `run COMMAND` runs something else first, here so that nothing writes to the
# folder after its end: its exit status. `start`: the server's process id. `end SIGNAL`: its exit status once it is gone. KILL is a machine's power cut: the server's children are killed with it, as none may live on. It is how
# the end is made too: a server that has just begun may miss any other signal.

folder=$1
shift
server=
# An answer to a test process that is gone must not end this shell. Nor the kernel's SIGHUP: it sends one to a process group
# that becomes an orphan while a member is stopped, and `end` stops the server.
trap '' HUP PIPE

end() {
    if [ "$1" = KILL ]; then
        # Stopped first, so that it neither makes new children nor takes notice of the dead ones.
        kill -s STOP "$server"
        kill -s KILL $(cat "/proc/$server/task/$server/children" 2>/dev/null) "$server"
    else
        kill -s "$1" "$server"
    fi
    wait "$server"
    status=$?
    server=
}

while read -r order what; do
    case $order in
    run)
        eval "$what" </dev/null >>"$folder/log" 2>&1
        echo "$?"
        ;;
    start)
        (trap - HUP PIPE && exec "$@") </dev/null >>"$folder/log" 2>&1 &
        server=$!
        echo "$server"
        ;;
    end)
        end "$what"
        echo "$status"
        ;;
    esac
done 2>/dev/null

[ -z "$server" ] || end KILL 2>/dev/null
# What a PostgreSQL that was killed leaves outside of its folder: a small segment of shared memory, by its number.
[ -f "$folder/data/postmaster.pid" ] && set -- $(sed -n 7p "$folder/data/postmaster.pid") && ipcrm -m "$2" 2>/dev/null
cd / && rm -rf "$folder"

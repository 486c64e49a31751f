# What every server runs under. The test process holds the other end of stdin: when it is gone, however it ended,
# `read` fails, the server is ended and its folder removed.
#
# $1: the folder; $2: the signal that ends the server at the end; the others: the server's command.
#
# Orders, one a line: `start`, answered with the server's process id, and `end SIGNAL`, answered with its exit status
# once it is gone. KILL is a machine's power cut: the server's children are killed with it, as none may live on.

folder=$1 last=$2
shift 2
server=
# Answers to a test process that is gone must not end this shell. A handler, for the server wouldn't lose an "ignore".
trap : PIPE

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

while read -r order signal; do
    case $order in
    start)
        "$@" </dev/null >>"$folder/log" 2>&1 &
        server=$!
        echo "$server"
        ;;
    end)
        end "$signal"
        echo "$status"
        ;;
    esac
done 2>/dev/null

[ -z "$server" ] || end "$last" 2>/dev/null
cd / && rm -rf "$folder"

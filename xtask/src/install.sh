# Installs Debian packages ($@) of database servers, as root, for tests that start servers of their own.
#
# No server of the system's is to come of it: PostgreSQL's package would make a cluster and start it now and at each boot,
# unless this file tells it not to. (MariaDB's are its `-core` packages, which have no service.)

no_cluster=/etc/postgresql-common/createcluster.d/changeover.conf
mkdir -p "${no_cluster%/*}" && echo 'create_main_cluster = false' >"$no_cluster"
trap 'rm -f "$no_cluster" && rmdir -p --ignore-fail-on-non-empty "${no_cluster%/*}"' EXIT
trap 'exit 130' HUP INT TERM

export DEBIAN_FRONTEND=noninteractive
install() {
    # Where these packages and others exclude each other (MariaDB and MySQL), the others stay.
    apt-get install --yes --no-remove --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}
# The second time with new lists: a machine that is fresh has none, one that is old has lists of what is gone.
install "$@" || { apt-get update && install "$@"; }

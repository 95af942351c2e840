//! Who may do what, and what becomes of bits and lists: file mode creation masks, access lists, set-id bits.

use weft_conformance::{needs, open_to_others, shell};
use weft_e2e::Cluster;

/// Runs a script in a folder of the mount that everybody may write; `as_user 1234 words..` runs words as a user of that number
/// alone.
fn in_the_open(script: &str) -> String {
    needs(&["setfacl", "getfacl", "setpriv", "python3"]);
    let cluster = Cluster::up();
    open_to_others(&cluster.mount());
    let all = format!(
        "umask 022; mkdir -m 1777 open; cd open\n\
         as_user() {{ local user=$1; shift; PATH=/usr/bin:/bin setpriv --reuid \"$user\" --regid \"$user\" --clear-groups -- \"$@\"; }}\n\
         is() {{ if [ \"$1\" != \"$2\" ]; then echo \"expected $2, found $1\" >&2; exit 1; fi; }}\n\
         refused() {{ if \"$@\" 2>/dev/null; then echo \"not refused: $*\" >&2; exit 1; fi; }}\n{script}"
    );
    shell(&cluster.mount(), &all, &[]).stdout
}

#[test]
fn the_mask_counts_where_there_is_no_default_list() {
    in_the_open(
        r#"
        mode() { stat -c %a "$1"; }
        umask 027; echo x > file; mkdir folder; mkfifo fifo; mknod device c 1 3
        is "$(mode file) $(mode folder) $(mode fifo) $(mode device)" "640 750 640 640"
        umask 077; python3 -c 'import os; os.close(os.open("made", os.O_CREAT | os.O_WRONLY, 0o6777))'
        is "$(mode made)" 6700
        umask 0; mkdir -m 700 lists; setfacl -d -m u:1234:rwx,g::rx,o::r lists
        umask 077; echo x > lists/file; mkdir lists/folder
        is "$(mode lists/file) $(mode lists/folder)" "664 774"
        "#,
    );
}

#[test]
fn access_lists_are_inherited_kept_and_enforced() {
    in_the_open(
        r#"
        list() { getfacl --omit-header --numeric --no-effective "$@" | grep . | sort | tr '\n' ' '; }
        echo secret > file; chmod 600 file
        refused as_user 1234 cat file
        setfacl -m u:1234:r file
        is "$(as_user 1234 cat file)" secret
        refused as_user 1235 cat file
        refused as_user 1234 sh -c 'echo more >> file'
        is "$(list file)" "group::--- mask::r-- other::--- user:1234:r-- user::rw- "
        is "$(stat -c %a file)" 640
        # The group's bits of the mode are the mask then.
        chmod 600 file
        is "$(list file)" "group::--- mask::--- other::--- user:1234:r-- user::rw- "
        refused as_user 1234 cat file
        setfacl -b file; is "$(list file)" "group::--- other::--- user::rw- "

        mkdir folder; setfacl -m u:1234:rwx folder; setfacl -d -m u:1234:rwx,g:4321:rx folder
        echo x > folder/file; mkdir folder/folder
        is "$(getfacl -dcn folder/folder)" "$(getfacl -dcn folder)"
        getfacl -cn folder/file | grep -q '^user:1234:rwx'
        is "$(as_user 1234 cat folder/file)" x
        as_user 1234 sh -c 'echo mine > folder/folder/mine'
        is "$(stat -c %u folder/folder/mine)" 1234
        refused as_user 1235 sh -c 'echo x > folder/x'
        # A list that is no list, and one of a link.
        refused setfattr -n system.posix_acl_access -v 0x0200000001 file
        refused as_user 1235 setfacl -m u:1235:rwx file
        cp -a folder copied; is "$(getfacl -Rcn copied | sort)" "$(getfacl -Rcn folder | sort)"
        "#,
    );
}

#[test]
fn who_changes_a_file_without_privileges_takes_its_power_off() {
    in_the_open(
        r#"
        mode() { stat -c %a file; }
        fresh() { rm -f file; printf 'hello' > file; chown 1234:1234 file; chmod "${1:-6777}" file; }
        python() { as_user "$user" python3 -c "import os; fd = os.open('file', os.O_RDWR); $1"; }
        for user in 1234 1235; do
            for change in 'os.write(fd, b"x")' 'os.pwrite(fd, b"x", 9)' 'os.ftruncate(fd, 2)' 'os.truncate("file", 99)' \
                'os.posix_fallocate(fd, 0, 100)' 'os.copy_file_range(fd, fd, 2, 0, 3)' \
                'os.open("file", os.O_WRONLY | os.O_TRUNC)' 'os.writev(fd, [b"a", b"b"])'; do
                fresh; python "$change"; is "$user $change $(mode)" "$user $change 777"
            done
        done
        # Without the group's right to execute set-group-id is no power, for who is of the group.
        user=1234; fresh 2767; python 'os.write(fd, b"x")'; is "$(mode)" 2767
        user=1235; fresh 2767; python 'os.write(fd, b"x")'; is "$(mode)" 767
        # Reading takes nothing, and root may.
        fresh; python 'os.read(fd, 5)'; is "$(mode)" 6777
        echo more >> file; truncate -s 3 file; is "$(mode)" 6777
        chown 1235 file; is "$(mode)" 777
        # A capability goes with a write.
        fresh 755; setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 file
        getfattr -n security.capability file > /dev/null
        echo x >> file; refused getfattr -n security.capability file
        "#,
    );
}

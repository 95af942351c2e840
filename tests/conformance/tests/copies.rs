//! Trees that are copied to a mount, within it, on another one and back by rsync and tar differ in nothing.

use std::fs;
use std::path::{Path, PathBuf};

use weft_conformance::{Mounts, is_long, needs, shell};
use weft_e2e::{Cluster, SourceTree, TreeSize, compare, program, run};

/// A tree to copy: sources of this project, or in the long run as much as is installed, and what else a tree may hold.
fn source(scratch: &Path) -> PathBuf {
    let tree = if is_long() {
        SourceTree::make(scratch, TreeSize { files: 20_000, bytes: 1 << 30 }).path().to_owned()
    } else {
        let tree = scratch.join("source");
        fs::create_dir(&tree).expect("made");
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../client");
        run(program("cp", &["-r"]).arg(project).arg(&tree)).success();
        tree
    };
    for script in [ODD, SPARSE, ACLS] {
        shell(&tree, script, &[]);
    }
    tree
}

/// Links, kinds, modes, times, owners, attributes and names.
const ODD: &str = r#"
mkdir mixed; cd mixed; mkdir "empty folder"
printf 'hard' > hard; ln hard hard2; ln hard "empty folder/../hard3"; ln -s hard soft; ln -s /nowhere/at/all dangling
printf 'x' > "$(printf 'na\nme with \t odd \377 bytes')"; : > empty
printf 'm' > mode; chmod 4711 mode; mkdir -m 1777 sticky; mkfifo fifo; mknod null c 1 3
printf 't' > old; touch -d '1975-03-04 05:06:07.123456789' old; touch -h -d '1999-01-01 00:00:00.5' soft
printf 'o' > owned; chown 1234:4321 owned; chown -h 1234:4321 dangling
printf 'a' > attributed; setfattr -n user.color -v blue attributed; setfattr -n trusted.t -v 1 attributed
mkdir attributes; setfattr -n user.of -v folders attributes
"#;

/// Holes at the start, in the middle and at the end.
const SPARSE: &str = r#"
mkdir sparse; cd sparse
truncate -s 20M start; printf end >> start
printf middle | dd of=middle bs=1 seek=9000000 status=none; truncate -s 30M middle
truncate -s 5M all
"#;

const ACLS: &str = r#"
mkdir acls; cd acls
echo x > access; setfacl -m u:1234:rw,g:4321:r access
mkdir default; setfacl -d -m u:1234:rwx default; echo y > default/inherits
"#;

#[track_caller]
fn no_difference(left: &Path, right: &Path) {
    let outcome = compare(left, right).success();
    assert_eq!(outcome.stdout, "", "{} and {} differ", left.display(), right.display());
}

#[test]
fn rsync_to_a_mount_and_back_from_another_leaves_no_difference() {
    needs(&["rsync", "setfacl", "setfattr"]);
    let cluster = Cluster::up();
    let tree = source(cluster.scratch());
    let there = Mounts::of(&cluster).folder("rsync");
    let back = cluster.scratch().join("back");
    let copy = |from: &Path, to: &Path| {
        let [from, to] = [from, to].map(|path| format!("{}/", path.display()));
        run(&mut program("rsync", &["-aHAX", "--sparse", &from, &to])).success();
    };
    copy(&tree, &there.a);
    no_difference(&tree, &there.b);
    no_difference(&tree, &there.a);
    cluster.forget_caches();
    copy(&there.b, &back);
    no_difference(&tree, &back);
    // Again over what is there: nothing is to be done, and with changed files they alone.
    shell(&there.a, "find . -name 'm*.rs' -exec truncate -s 3 {} +", &[]);
    copy(&tree, &there.b);
    no_difference(&tree, &there.a);
    // From one mount to the other, within the filesystem.
    let within = Mounts { a: there.a.join("within"), b: there.b.join("within") };
    copy(&back, &within.b);
    no_difference(&tree, &within.a);
}

#[test]
fn tar_of_a_tree_on_one_mount_unpacks_to_the_same_on_another() {
    needs(&["tar", "rsync", "setfacl", "setfattr"]);
    let cluster = Cluster::up();
    let mounts = Mounts::of(&cluster).folder("tar");
    let tree = source(cluster.scratch());
    let script = r#"
        tar=(tar --sparse --xattrs --xattrs-include='*' --acls --numeric-owner)
        "${tar[@]}" -C "$1" -cf one.tar .
        mkdir unpacked; "${tar[@]}" -C unpacked -xpf "$2/one.tar"
        "${tar[@]}" -C "$2/unpacked" -cf two.tar .
        mkdir again; "${tar[@]}" -C "$2/again" -xpf two.tar
    "#;
    shell(&mounts.a, script, &[&tree.to_string_lossy(), &mounts.b.to_string_lossy()]);
    no_difference(&tree, &mounts.b.join("unpacked"));
    no_difference(&tree, &mounts.a.join("again"));
    let blocks = shell(&mounts.b, "stat -c %b unpacked/sparse/middle", &[]).stdout;
    assert!(blocks.trim().parse::<u64>().expect("a number") < 1000, "holes stay holes: {blocks}");
}

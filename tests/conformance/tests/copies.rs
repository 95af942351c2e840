//! Trees that are copied to the mount, within it and back by rsync and tar differ in nothing.

use std::path::Path;

use weft_conformance::exceptions::exceptions;
use weft_conformance::{is_long, needs, shell};
use weft_e2e::{Cluster, SourceTree, TreeSize, compare, program, run};

fn source(scratch: &Path) -> SourceTree {
    let size = if is_long() {
        TreeSize { files: 20_000, bytes: 1 << 30 }
    } else {
        TreeSize { files: 150, bytes: 16 << 20 }
    };
    let tree = SourceTree::make(scratch, size);
    shell(tree.path(), SPARSE, &[]);
    if has_acls() {
        shell(tree.path(), ACLS, &[]);
    }
    tree
}

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

fn has_acls() -> bool {
    !exceptions("software").contains("acl")
}

#[track_caller]
fn no_difference(left: &Path, right: &Path) {
    let outcome = compare(left, right).success();
    assert_eq!(outcome.stdout, "", "{} and {} differ", left.display(), right.display());
}

#[test]
fn rsync_to_the_mount_and_back_leaves_no_difference() {
    needs(&["rsync", "setfacl", "setfattr"]);
    let cluster = Cluster::up();
    let tree = source(cluster.scratch());
    let (there, back) = (cluster.mount().join("rsync"), cluster.scratch().join("back"));
    let copy = |from: &Path, to: &Path| {
        let [from, to] = [from, to].map(|path| format!("{}/", path.display()));
        run(&mut program("rsync", &["-aHAX", "--sparse", &from, &to])).success();
    };
    copy(tree.path(), &there);
    no_difference(tree.path(), &there);
    cluster.forget_caches();
    copy(&there, &back);
    no_difference(tree.path(), &back);
    // Again over what is there: nothing is to be done, and with changed files they alone.
    shell(&there, "find . -type f -name 'f*1' -exec truncate -s 3 {} +", &[]);
    copy(tree.path(), &there);
    no_difference(tree.path(), &there);
}

#[test]
fn tar_of_a_tree_on_the_mount_unpacks_to_the_same() {
    needs(&["tar", "rsync", "setfacl", "setfattr"]);
    let cluster = Cluster::up();
    let tree = source(cluster.scratch());
    let script = r#"
        tar=(tar --sparse --xattrs --xattrs-include='*' --numeric-owner)
        if [ "$2" = acls ]; then tar+=(--acls); fi
        "${tar[@]}" -C "$1" -cf one.tar .
        mkdir unpacked; "${tar[@]}" -C unpacked -xpf one.tar
        "${tar[@]}" -C unpacked -cf two.tar .
        mkdir again; "${tar[@]}" -C again -xpf two.tar
    "#;
    let acls = if has_acls() { "acls" } else { "none" };
    shell(&cluster.mount(), script, &[&tree.path().to_string_lossy(), acls]);
    no_difference(tree.path(), &cluster.mount().join("unpacked"));
    no_difference(tree.path(), &cluster.mount().join("again"));
    let blocks = shell(&cluster.mount(), "stat -c %b unpacked/sparse/middle", &[]).stdout;
    assert!(blocks.trim().parse::<u64>().expect("a number") < 1000, "holes stay holes: {blocks}");
}

/// An exception that no longer is one fails here.
#[test]
fn acls_are_refused_as_long_as_they_are_listed() {
    needs(&["setfacl"]);
    let cluster = Cluster::up();
    let script = "echo x > f; if setfacl -m u:1234:rw f; then echo taken; fi";
    let taken = shell(&cluster.mount(), script, &[]).stdout.contains("taken");
    assert_eq!(taken, has_acls(), "ACLs are kept exactly if they are no exception");
}

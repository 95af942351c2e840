//! Whoever writes: one client after the other, with the filesystem's core or without, each until it closes or is killed.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};
use weft_core::{
    Attachment, AttributeChanges, Caller, Core, FsError, HandleId, ListingName, MEMORY_MIN, OpenMode,
};
use weft_core::{MetaError, Name, RenameMode};
use weft_types::{Inode, SessionId};

use crate::dice::Dice;
use crate::files::{Content, Known, pattern};
use crate::frontend::Frontend;
use crate::nemesis::Nemesis;
use crate::raw::{Raw, Registers};
use crate::trace::Invariant;
use crate::world::{FILESYSTEM, World};

/// Names that files may have.
const FILES: usize = 5;
/// Most bytes of a file.
const FILE_MAX: usize = 96 << 10;
/// The identity of all writers.
const NODE: u8 = 0xa0;
const READ_WRITE: OpenMode = OpenMode { read: true, write: true, append: false, sync: false };
/// How long an operation may take before its client is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known of the files.
pub(crate) type Files = BTreeMap<usize, Known>;

/// Writes, in one session after the other.
pub(crate) struct Writer {
    world: Arc<World>,
    files: Files,
    registers: Arc<Registers>,
    stopping: Arc<AtomicBool>,
    dice: Dice,
    number: u32,
    /// The last session, which may be open still.
    last: Option<SessionId>,
    operations: u64,
    /// The file that is there and whose bytes could not be read, when all were looked at last.
    unreadable: Option<usize>,
}

/// The client cannot go on: what it was at may have been done or not.
struct Lost;

/// A mount.
struct Mount {
    frontend: Frontend,
    core: Arc<Core>,
    open: BTreeMap<usize, (Inode, HandleId)>,
}

fn name(file: usize) -> Name {
    Name::new(format!("f{file}").as_bytes()).expect("a name")
}

/// Waits for an operation; one that fails or takes too long ends its client.
async fn patiently<T>(operation: impl Future<Output = Result<T, FsError>>) -> Result<T, FsError> {
    timeout(PATIENCE, operation).await.unwrap_or(Err(FsError::TimedOut))
}

impl Writer {
    /// One that has not begun.
    pub(crate) fn new(
        world: &Arc<World>,
        files: Files,
        registers: &Arc<Registers>,
        stopping: &Arc<AtomicBool>,
    ) -> Self {
        let files = (0..FILES).map(|file| (file, Known::absent())).chain(files).collect();
        Self {
            world: Arc::clone(world),
            files,
            registers: Arc::clone(registers),
            stopping: Arc::clone(stopping),
            dice: Dice::new(world.seed, 4),
            number: 0,
            last: None,
            operations: 0,
            unreadable: None,
        }
    }

    /// Operations on files that were answered.
    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    fn stops(&self) -> bool {
        self.stopping.load(Ordering::Relaxed) || self.world.trace.is_violated()
    }

    /// Writes until it is told to stop.
    pub(crate) async fn write_always(&mut self) {
        while !self.stops() {
            if self.dice.per_mille(400) { self.live_raw().await } else { self.live().await }
        }
    }

    fn frontend(&mut self) -> (Frontend, Option<SessionId>) {
        self.number += 1;
        let replaces = self.last.filter(|_| self.dice.per_mille(700));
        (Frontend::new(&self.world, self.number, NODE), replaces)
    }

    async fn live_raw(&mut self) {
        let (frontend, replaces) = self.frontend();
        let life = frontend.endpoint.life.clone();
        let dice = Dice::new(self.world.seed, 5000 + u64::from(self.number));
        let opened = Raw::open(frontend, &self.registers, Some(replaces), dice, PATIENCE).await;
        let Some(mut raw) = opened else { return };
        self.last = Some(raw.session());
        let mut alive = raw.settle().await;
        for _ in 0..self.dice.below(12) {
            if !alive || self.stops() {
                break;
            }
            alive = raw.write().await;
            let pause = self.dice.between(Duration::ZERO, Duration::from_millis(600));
            sleep(pause).await;
        }
        if alive && self.dice.per_mille(500) {
            raw.close().await;
        }
        life.end();
    }

    async fn mount(&mut self, patience: Duration) -> Option<Mount> {
        let (frontend, replaces) = self.frontend();
        let map = frontend.first_map(patience).await?;
        let (opened, asked) = frontend.open(false, replaces, patience).await?;
        self.last = Some(opened.session);
        let attachment = Attachment {
            backend: Arc::new(frontend.clone()),
            opened,
            asked,
            read_only: false,
            map,
            memory: MEMORY_MIN,
            filesystem: FILESYSTEM.to_owned(),
            holder: frontend.holder(),
            sealing_threads: false,
            access_times: true,
        };
        let core = Core::attach(attachment, Handle::current());
        Some(Mount { frontend, core, open: BTreeMap::new() })
    }

    async fn live(&mut self) {
        let Some(mut mount) = self.mount(PATIENCE).await else { return };
        self.world.trace.note(format_args!("{} mounts", mount.frontend.endpoint.node));
        let mut alive = self.look_at_all(&mount).await.is_ok();
        for _ in 0..self.dice.below(40) {
            if !alive || self.stops() {
                break;
            }
            alive = self.operate(&mut mount).await.is_ok();
            let pause = self.dice.between(Duration::ZERO, Duration::from_millis(400));
            sleep(pause).await;
        }
        let clean = alive && self.dice.per_mille(400);
        if clean && mount.core.unmount(Duration::from_secs(30)).await.is_ok() {
            self.files
                .values_mut()
                .for_each(|known| known.possible.iter_mut().flatten().for_each(Content::sync));
        }
        self.world.trace.note(format_args!("{} ends, {clean}", mount.frontend.endpoint.node));
        mount.frontend.endpoint.life.end();
    }

    /// Looks at every file with a new mount: it knows only what is durable.
    async fn look_at_all(&mut self, mount: &Mount) -> Result<(), Lost> {
        for file in 0..FILES {
            let found = look(&mount.core, file).await;
            self.unreadable = (found == Err(FsError::Unreadable)).then_some(file);
            let found = found.map_err(|error| self.lost(file, "look", error))?;
            self.operations += 1;
            let known = self.files.get_mut(&file).expect("known");
            if let Err(fault) = known.find(found) {
                self.world.trace.violate(Invariant::AcknowledgedStays, format_args!("f{file}: {fault}"));
                return Err(Lost);
            }
        }
        Ok(())
    }

    fn lost(&self, file: usize, what: &str, error: FsError) -> Lost {
        self.world.trace.note(format_args!("f{file}: {what}: {error}"));
        Lost
    }

    async fn operate(&mut self, mount: &mut Mount) -> Result<(), Lost> {
        let file = self.dice.index(FILES);
        let there = self.files[&file].sure().cloned().ok_or(Lost)?;
        match (there, self.dice.below(20)) {
            (None, _) => self.create(mount, file).await?,
            (Some(content), 0..9) => self.write(mount, file, content).await?,
            (Some(content), 9..13) => self.sync(mount, file, content).await?,
            (Some(content), 13..16) => self.read(mount, file, content).await?,
            (Some(content), 16) => self.resize(mount, file, content).await?,
            (Some(content), 17) => self.unlink(mount, file, content).await?,
            (Some(content), 18) => self.rename(mount, file, content).await?,
            (Some(_), _) => self.list(mount).await?,
        }
        self.operations += 1;
        Ok(())
    }

    fn set(&mut self, file: usize, state: Option<Content>) {
        self.files.get_mut(&file).expect("known").set(state);
    }

    fn or(&mut self, file: usize, state: Option<Content>) {
        self.files.get_mut(&file).expect("known").or(state);
    }

    async fn create(&mut self, mount: &mut Mount, file: usize) -> Result<(), Lost> {
        self.or(file, Some(Content::default()));
        let created = mount.core.create(Caller::default(), Inode::ROOT, name(file), 0o644, 0, READ_WRITE);
        let (attributes, handle) =
            patiently(created).await.map_err(|error| self.refused(file, "create", error))?;
        self.set(file, Some(Content::default()));
        mount.open.insert(file, (attributes.inode, handle));
        Ok(())
    }

    /// An operation that must not be refused was not done, or nobody knows.
    fn refused(&self, file: usize, what: &str, error: FsError) -> Lost {
        if let FsError::Refused(
            MetaError::Exists | MetaError::NotFound | MetaError::SlotOutOfStep | MetaError::Damaged,
        ) = error
        {
            self.world.trace.violate(Invariant::Serves, format_args!("f{file}: {what} is refused: {error}"));
        }
        self.lost(file, what, error)
    }

    async fn handle(&mut self, mount: &mut Mount, file: usize) -> Result<(Inode, HandleId), Lost> {
        if let Some(open) = mount.open.get(&file) {
            return Ok(*open);
        }
        let found = patiently(mount.core.lookup(Inode::ROOT, &name(file))).await;
        let inode = found.map_err(|error| self.refused(file, "lookup", error))?.inode;
        let opened = patiently(mount.core.open(inode, READ_WRITE)).await;
        let handle = opened.map_err(|error| self.refused(file, "open", error))?;
        mount.open.insert(file, (inode, handle));
        Ok((inode, handle))
    }

    async fn write(&mut self, mount: &mut Mount, file: usize, mut content: Content) -> Result<(), Lost> {
        let (_, handle) = self.handle(mount, file).await?;
        let len = match self.dice.below(4) {
            0 => 1 + self.dice.index(200),
            1 => 4096,
            2 => 1 + self.dice.index(12_000),
            _ => 1 + self.dice.index(40_000),
        };
        let whole = content.bytes().len();
        let at = if self.dice.per_mille(400) { whole } else { self.dice.index(whole + 5000) };
        let at = at.min(FILE_MAX - len);
        let bytes = pattern(&mut self.dice, len);
        content.write(at, &bytes);
        self.set(file, Some(content));
        let written = patiently(mount.core.write(handle, at as u64, &bytes)).await;
        written.map(drop).map_err(|error| self.lost(file, "write", error))
    }

    async fn sync(&mut self, mount: &mut Mount, file: usize, mut content: Content) -> Result<(), Lost> {
        let (_, handle) = self.handle(mount, file).await?;
        patiently(mount.core.fsync(handle)).await.map_err(|error| self.lost(file, "fsync", error))?;
        content.sync();
        self.set(file, Some(content));
        Ok(())
    }

    async fn read(&mut self, mount: &mut Mount, file: usize, content: Content) -> Result<(), Lost> {
        let (_, handle) = self.handle(mount, file).await?;
        let bytes = content.bytes();
        let at = self.dice.index(bytes.len() + 1);
        let len = self.dice.index(bytes.len() + 1);
        let read = patiently(mount.core.read(handle, at as u64, len as u32)).await;
        let read = read.map_err(|error| self.lost(file, "read", error))?;
        let end = bytes.len().min(at + len);
        if read[..] != bytes[at..end] {
            self.world.trace.violate(
                Invariant::AcknowledgedStays,
                format_args!("f{file} reads wrong bytes to its own writer at {at}"),
            );
        }
        Ok(())
    }

    async fn resize(&mut self, mount: &mut Mount, file: usize, content: Content) -> Result<(), Lost> {
        let (inode, _) = self.handle(mount, file).await?;
        let len = self.dice.index(content.bytes().len() + 3000);
        let mut resized = content.clone();
        resized.resize(len);
        self.or(file, Some(resized.clone()));
        let changes = AttributeChanges { size: Some(len as u64), ..AttributeChanges::default() };
        let done = patiently(mount.core.set_attributes(Caller::default(), inode, changes)).await;
        done.map_err(|error| self.refused(file, "resize", error))?;
        self.set(file, Some(resized));
        Ok(())
    }

    async fn unlink(&mut self, mount: &mut Mount, file: usize, _: Content) -> Result<(), Lost> {
        if let Some((_, handle)) = mount.open.remove(&file) {
            mount.core.release(handle);
        }
        self.or(file, None);
        let gone = patiently(mount.core.unlink(Caller::default(), Inode::ROOT, name(file))).await;
        gone.map_err(|error| self.refused(file, "unlink", error))?;
        self.set(file, None);
        Ok(())
    }

    /// Renames over whatever has the other name. What was written is durable then.
    async fn rename(&mut self, mount: &mut Mount, file: usize, content: Content) -> Result<(), Lost> {
        let other = (file + 1 + self.dice.index(FILES - 1)) % FILES;
        for file in [file, other] {
            if let Some((_, handle)) = mount.open.remove(&file) {
                mount.core.release(handle);
            }
        }
        self.or(file, None);
        self.or(other, Some(content.clone()));
        let (from, to) = ((Inode::ROOT, name(file)), (Inode::ROOT, name(other)));
        let renamed = mount.core.rename(Caller::default(), from, to, RenameMode::Replace);
        patiently(renamed).await.map_err(|error| self.refused(file, "rename", error))?;
        self.set(file, None);
        self.set(other, Some(content));
        Ok(())
    }

    async fn list(&mut self, mount: &Mount) -> Result<(), Lost> {
        let mut after = 0;
        let mut found = Vec::new();
        loop {
            let page = patiently(mount.core.list_directory(Inode::ROOT, after, 50, false)).await;
            let page = page.map_err(|error| self.refused(0, "list", error))?;
            for entry in &page.entries {
                after = entry.cookie;
                if let ListingName::Child(name) = &entry.name
                    && let Some(file) =
                        (0..FILES).find(|file| format!("f{file}").as_bytes() == name.as_bytes())
                {
                    found.push(file);
                }
            }
            if page.end {
                break;
            }
        }
        found.sort_unstable();
        let expected: Vec<_> = self
            .files
            .iter()
            .filter(|(_, known)| matches!(known.sure(), Some(Some(_))))
            .map(|(file, _)| *file)
            .collect();
        if found != expected {
            self.world.trace.violate(
                Invariant::AcknowledgedStays,
                format_args!("files {found:?} are listed, not {expected:?}"),
            );
        }
        Ok(())
    }

    /// After faults have stopped: all that must be there is, and everything works, within bounded time.
    pub(crate) async fn finish(&mut self, nemesis: &Nemesis) {
        let begun = Instant::now();
        let healed = timeout(Duration::from_secs(180), async {
            loop {
                if self.world.trace.is_violated() || self.prove().await {
                    return;
                }
                sleep(Duration::from_secs(1)).await;
            }
        });
        if healed.await.is_err() {
            let trace = &self.world.trace;
            match self.unreadable {
                // Only what is durable is in its map: with every drive back, bytes of it are lost.
                Some(file) => trace.violate(
                    Invariant::AcknowledgedStays,
                    format_args!("f{file} has durable bytes that nobody can read any more"),
                ),
                None => {
                    trace.violate(
                        Invariant::Heals,
                        format_args!("it does not heal after faults have stopped"),
                    );
                }
            }
            return;
        }
        self.world.trace.note(format_args!("healed after {:?}", begun.elapsed()));
        nemesis.survivable().await;
    }

    /// One attempt to read everything, write, and read again.
    async fn prove(&mut self) -> bool {
        let Some(mut mount) = self.mount(PATIENCE).await else { return false };
        let mut done = self.look_at_all(&mount).await.is_ok();
        if done && self.files[&0].sure().is_some_and(Option::is_none) {
            done = self.create(&mut mount, 0).await.is_ok();
        }
        for step in 0..4 {
            let content = self.files[&0].sure().cloned().flatten();
            let Some(content) = content.filter(|_| done) else { break };
            done = match step {
                0 => self.write(&mut mount, 0, content).await.is_ok(),
                1 => self.sync(&mut mount, 0, content).await.is_ok(),
                2 => self.list(&mount).await.is_ok(),
                _ => mount.core.unmount(Duration::from_secs(30)).await.is_ok(),
            };
        }
        mount.frontend.endpoint.life.end();
        drop(mount);
        if !done {
            return false;
        }
        // Another one reads it all again, and the registers.
        let Some(mount) = self.mount(PATIENCE).await else { return false };
        let read = self.look_at_all(&mount).await.is_ok()
            && mount.core.unmount(Duration::from_secs(30)).await.is_ok();
        mount.frontend.endpoint.life.end();
        let (frontend, replaces) = self.frontend();
        let dice = Dice::new(self.world.seed, 6);
        let raw = Raw::open(frontend.clone(), &self.registers, Some(replaces), dice, PATIENCE).await;
        let Some(mut raw) = raw else { return false };
        let settled = raw.settle().await && raw.write().await;
        raw.close().await;
        frontend.endpoint.life.end();
        read && settled
    }
}

/// What a name is of: `None`: nothing.
async fn look(core: &Arc<Core>, file: usize) -> Result<Option<Vec<u8>>, FsError> {
    let inode = match patiently(core.lookup(Inode::ROOT, &name(file))).await {
        Ok(attributes) => attributes.inode,
        Err(FsError::Refused(MetaError::NotFound)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let handle = patiently(core.open(inode, OpenMode { read: true, ..OpenMode::default() })).await?;
    let mut bytes = Vec::new();
    loop {
        let read = patiently(core.read(handle, bytes.len() as u64, 64 << 10)).await?;
        if read.is_empty() {
            break;
        }
        bytes.extend_from_slice(&read);
    }
    core.release(handle);
    Ok(Some(bytes))
}

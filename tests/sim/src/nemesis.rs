//! What goes wrong, and when: drawn from the seed.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout};

use weft_layout::DriveState;
use weft_wire::store::OpenStore;

use crate::dice::Dice;
use crate::manager::MANAGER;
use crate::net::Node;
use crate::trace::Invariant;
use crate::world::{COMPUTES, World};

/// Makes trouble.
pub(crate) struct Nemesis {
    world: Arc<World>,
    dice: Dice,
    faults: u64,
    /// Drives that never come back, or came back as an earlier copy of themselves.
    spent: usize,
    /// Drives are brought back as earlier copies of themselves in this schedule.
    restores: bool,
    /// When all drives' media were remembered: the version of the store.
    kept: Option<weft_types::StoreVersion>,
}

impl Nemesis {
    /// One that has not begun.
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let mut dice = Dice::new(world.seed, 7);
        let restores = dice.per_mille(250);
        if restores {
            world.net.be_careful();
        }
        Self { world: Arc::clone(world), dice, faults: 0, spent: 0, restores, kept: None }
    }

    /// Faults so far.
    pub(crate) fn faults(&self) -> u64 {
        self.faults
    }

    /// Makes trouble for so long.
    pub(crate) async fn trouble(&mut self, length: Duration) {
        let end = Instant::now() + length;
        sleep(self.dice.between(Duration::from_millis(100), Duration::from_secs(4))).await;
        while Instant::now() < end && !self.world.trace.is_violated() {
            self.faults += 1;
            if self.kept.is_none() && self.dice.per_mille(150) {
                self.keep();
            }
            match self.dice.below(12) {
                0..3 => self.hit_drive(),
                3 => self.hit_many(),
                4 | 5 => self.hit_compute(),
                6 => self.hit_manager(),
                7 => self.cut(),
                8 => self.rough_network(),
                9 => self.world.net.mend(),
                10 => self.lose_or_restore(),
                _ => {}
            }
            let pause = self.dice.between(Duration::from_millis(100), Duration::from_millis(3500));
            sleep(pause).await;
            self.restart_some();
        }
    }

    /// Remembers all media as they are.
    fn keep(&mut self) {
        let management = self.world.managing().and_then(|managing| managing.management);
        let Some(management) = management else { return };
        self.kept = Some(management.status().store.version);
        self.world.drives.iter().for_each(|drive| drive.keep());
        self.world.trace.note(format_args!("media are remembered"));
    }

    /// Whether another drive may fail: while one is an earlier copy of itself, few others may be away.
    fn may_hit_drive(&self) -> bool {
        let away = self.world.drives.iter().filter(|drive| !drive.is_running() && !drive.is_gone()).count();
        !self.restores || self.spent + away < self.world.losses_max()
    }

    fn hit_drive(&mut self) {
        if !self.may_hit_drive() {
            return;
        }
        let number = self.dice.index(self.world.drives.len());
        let drive = &self.world.drives[number];
        if self.dice.per_mille(600) {
            let ios = self.dice.below(12);
            drive.stop_within(ios);
            self.world.trace.note(format_args!("d{number} will lose its power within {ios} writes"));
        } else {
            drive.stop();
            self.world.trace.note(format_args!("d{number} loses its power"));
        }
    }

    /// The power of the whole house fails, or of much of it.
    fn hit_many(&mut self) {
        if self.restores {
            return;
        }
        let rate = if self.dice.per_mille(500) { 1000 } else { 500 };
        for number in 0..self.world.drives.len() {
            if self.dice.per_mille(rate) {
                self.world.drives[number].stop();
            }
        }
        self.world.trace.note(format_args!("drives lose their power: {rate} of 1000"));
        if self.dice.per_mille(700) {
            for number in 0..COMPUTES {
                self.world.computes[number].stop(&mut self.dice);
            }
            self.world.stop_manager();
            self.world.trace.note(format_args!("and everybody else"));
        }
    }

    fn hit_compute(&mut self) {
        let number = self.dice.index(COMPUTES);
        self.world.computes[number].stop(&mut self.dice);
        self.world.trace.note(format_args!("c{number} is killed"));
        if self.dice.per_mille(300) {
            self.world.computes[number].start(&self.world);
        }
    }

    fn hit_manager(&mut self) {
        self.world.stop_manager();
        self.world.trace.note(format_args!("m is killed"));
    }

    fn cut(&mut self) {
        let drive = Node::Drive(self.dice.index(self.world.drives.len()));
        let compute = Node::Compute(self.dice.index(COMPUTES));
        let (a, b) = match self.dice.below(4) {
            0 | 1 if !self.restores => (drive, compute),
            2 if !self.restores => (drive, Node::Management),
            _ => (compute, Node::Management),
        };
        self.world.net.cut(a, b);
        self.world.trace.note(format_args!("{a} and {b} are cut off from each other"));
    }

    fn rough_network(&mut self) {
        let (lost, twice, late) = (self.dice.below(60), self.dice.below(100), self.dice.below(80));
        let late_max = self.dice.between(Duration::from_millis(10), Duration::from_secs(6));
        self.world.net.trouble(lost, twice, late, late_max);
        self.world
            .trace
            .note(format_args!("network: {lost} lost, {twice} twice, {late} late by {late_max:?}"));
    }

    /// A drive never comes back, or as an earlier copy of itself; at most as many as may be lost.
    fn lose_or_restore(&mut self) {
        if self.spent >= self.world.losses_max() {
            return;
        }
        let number = self.dice.index(self.world.drives.len());
        let drive = &self.world.drives[number];
        if drive.is_gone() {
            return;
        }
        if self.restores {
            // Nothing else is away when it comes back, and what it has lost can be lost.
            let all = self.world.drives.iter().all(|drive| drive.is_running()) && self.one_more_may_go();
            if all && self.kept.is_some() && drive.restore(self.world.options.lies_about_flushes()) {
                self.spent += 1;
                self.world.start_drive(number, &mut self.dice);
                self.world.trace.note(format_args!("d{number} comes back as it was earlier"));
            }
        } else if self.one_more_may_go() {
            drive.lose();
            self.spent += 1;
            self.world.trace.note(format_args!("d{number} is lost"));
        }
    }

    /// Whether management counts on every drive that is not lost, and one more loss is survived wherever extents may
    /// lie: with 2+1, what is written while a drive is away is unprotected until it is spread again.
    fn one_more_may_go(&self) -> bool {
        let management = self.world.managing().and_then(|managing| managing.management);
        management.is_some_and(|management| {
            let map = management.status().map;
            let up = map.drives.iter().filter(|drive| drive.state == DriveState::Up).count();
            // Drives that came back as earlier copies are up, and the map does not know what they have lost.
            let (lost, unknown) = if self.restores { (0, self.spent) } else { (self.spent, 0) };
            up + lost == self.world.drives.len()
                && map.losses_survived_by_all().is_some_and(|losses| usize::from(losses) > unknown)
        })
    }

    fn restart_some(&mut self) {
        for number in 0..self.world.drives.len() {
            if self.dice.per_mille(350) {
                self.world.start_drive(number, &mut self.dice);
            }
        }
        for number in 0..COMPUTES {
            if self.dice.per_mille(450) {
                self.world.computes[number].start(&self.world);
            }
        }
        if self.dice.per_mille(500) {
            self.world.start_manager();
        }
        if self.dice.per_mille(250) {
            self.world.net.mend();
        }
    }

    /// Nothing goes wrong any more, and everything runs but what is lost.
    pub(crate) fn stop(&mut self) {
        let quiet = Duration::from_millis(50);
        self.world.net.trouble(0, 0, 0, quiet);
        self.world.net.mend();
        for number in 0..self.world.drives.len() {
            // One that was to fail at its next write fails now.
            if !self.world.drives[number].is_gone() {
                self.world.drives[number].stop();
                self.world.start_drive(number, &mut self.dice);
            }
        }
        self.world.computes.iter().for_each(|node| node.start(&self.world));
        self.world.start_manager();
    }

    /// When no drive was lost, all losses are survivable again within bounded time.
    pub(crate) async fn survivable(&self) {
        if self.spent > 0 {
            return;
        }
        let wanted = u8::try_from(self.world.losses_max()).unwrap_or(u8::MAX);
        let begun = Instant::now();
        let mut found = None;
        while begun.elapsed() < Duration::from_secs(300) {
            let management = self.world.managing().and_then(|managing| managing.management);
            found = management.and_then(|management| management.status().losses_survived);
            if found >= Some(wanted) {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
        self.world.trace.violate(
            Invariant::Heals,
            format_args!("{found:?} losses are survivable 300 s after faults have stopped"),
        );
    }

    /// Brings most copies of the cluster store back as they were earlier: nobody serves by them as long as a drive is
    /// there that knows of newer ones.
    pub(crate) async fn bring_back_old_stores(&mut self) {
        let Some(kept) = self.kept.filter(|_| self.spent == 0 && self.world.losses_max() == 2) else {
            return;
        };
        let management = self.world.managing().and_then(|managing| managing.management);
        let Some(newest) = management.map(|management| management.status().store.version) else { return };
        // All drives have heard of the newest by now.
        sleep(Duration::from_secs(5)).await;
        if newest <= kept {
            return;
        }
        self.world.stop_manager();
        for number in 0..3 {
            self.world.drives[number].restore(false);
            self.world.start_drive(number, &mut self.dice);
        }
        // Nobody is left that has the newest, whoever votes by now; is somebody left who knows of it?
        let mut known = false;
        for number in 0..self.world.drives.len() {
            let held =
                self.world.at_drive(number, |local| local.open_store(MANAGER, OpenStore { term: None }));
            let Some(Ok((held, _))) = held else { continue };
            if held.copy.is_some_and(|(_, version)| version >= newest) {
                self.world.drives[number].stop();
            } else {
                known |= held.seen >= newest;
            }
        }
        if !known {
            return;
        }
        self.world
            .trace
            .note(format_args!("three old copies of the store are brought back, and the newest are away"));
        self.world.start_manager();
        let opened = timeout(Duration::from_secs(40), async {
            loop {
                if self.world.managing().is_some_and(|managing| managing.management.is_some()) {
                    return;
                }
                sleep(Duration::from_millis(500)).await;
            }
        });
        if opened.await.is_ok() {
            self.world
                .trace
                .violate(Invariant::OldStoreServesNobody, format_args!("an old cluster store is served"));
        }
        self.faults += 1;
    }
}

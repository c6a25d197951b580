//! The thirty cases: what a stranger's plugin can try, and how it must end.

mod alone;
mod calls;
mod outside;

use super::guest::{Guest, Role};
use super::refused::Made;

/// One case.
pub(super) struct Case {
    pub number: u8,
    pub name: &'static str,
    /// What contains it.
    pub held_by: &'static str,
    pub probes: &'static [Probe],
}

impl Case {
    /// What is tried by code of its own, with the name of each.
    pub(super) fn specials(&self) -> impl Iterator<Item = (&'static str, Special)> {
        self.probes.iter().filter_map(|it| match it.kind {
            Kind::Special(special) => Some((it.name, special)),
            _ => None,
        })
    }
}

/// One thing that is tried.
pub(super) struct Probe {
    /// Names the plugin, its policy and its events.
    pub name: &'static str,
    pub kind: Kind,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A plugin that is loaded and gets events.
    Run {
        guest: Guest,
        /// Lines of `[policy.limits]`.
        limits: &'static str,
        /// How many events it gets.
        events: usize,
        /// The class in which each attempt ends.
        class: &'static str,
    },
    /// A file that is refused when it is configured, with a reason that names this.
    Refused { made: Made, says: &'static str },
    /// A destination with this address, which is refused when it is configured.
    Url { url: &'static str },
    /// A plugin that asks for a webhook to this name, of which the address is refused. `PORT` stands for a
    /// port on which nobody may come.
    Webhook { url: &'static str },
    /// Tried by code of its own.
    Special(Special),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    /// An open destination answers with a redirect to an address that is not.
    Redirected,
    /// A plugin answers by lot, and fails at first.
    Differing,
    /// Compiled plugins in the cache are changed, and mixed up.
    Tampered,
    /// The plugin's file is replaced while it runs.
    Swapped,
    /// The server is killed while runs are under way.
    Killed,
}

const fn run(name: &'static str, guest: Guest, class: &'static str) -> Probe {
    limited(name, guest, "", class)
}

const fn limited(
    name: &'static str,
    guest: Guest,
    limits: &'static str,
    class: &'static str,
) -> Probe {
    let kind = Kind::Run {
        guest,
        limits,
        events: 1,
        class,
    };
    Probe { name, kind }
}

const fn often(name: &'static str, guest: Guest, events: usize, class: &'static str) -> Probe {
    let kind = Kind::Run {
        guest,
        limits: "",
        events,
        class,
    };
    Probe { name, kind }
}

const fn refused(name: &'static str, made: Made, says: &'static str) -> Probe {
    let kind = Kind::Refused { made, says };
    Probe { name, kind }
}

const fn url(name: &'static str, url: &'static str) -> Probe {
    let kind = Kind::Url { url };
    Probe { name, kind }
}

const fn webhook(name: &'static str, url: &'static str) -> Probe {
    let kind = Kind::Webhook { url };
    Probe { name, kind }
}

const fn special(name: &'static str, special: Special) -> Probe {
    let kind = Kind::Special(special);
    Probe { name, kind }
}

/// A classifier with something more in its module.
const fn beside(more: &'static str, body: &'static str) -> Guest {
    Guest {
        more,
        ..Guest::that(body)
    }
}

/// A classifier with another allocator.
const fn allocating(imports: &'static str, realloc: &'static str) -> Guest {
    Guest {
        realloc,
        ..Guest::importing(imports, "")
    }
}

/// A classifier with more memory at first.
const fn with_pages(pages: &'static str, imports: &'static str, body: &'static str) -> Guest {
    Guest {
        pages,
        ..Guest::importing(imports, body)
    }
}

/// A triager.
const fn triager(more: &'static str, body: &'static str) -> Guest {
    Guest {
        role: Role::Triager,
        pages: "16",
        ..beside(more, body)
    }
}

/// All cases, in their order.
pub(super) fn all() -> impl Iterator<Item = &'static Case> {
    alone::CASES_OF_TIME
        .iter()
        .chain(&alone::CASES_OF_SPACE)
        .chain(&alone::CASES_OF_ANSWERS)
        .chain(&calls::CASES_OF_CALLS)
        .chain(&outside::CASES_OF_LOADING)
        .chain(&outside::CASES_OF_EFFECTS)
}

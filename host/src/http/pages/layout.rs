//! What all pages share, and the pages around the login.

use maud::{DOCTYPE, Markup, html};

const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
                    %3Cpath d='M2 3h12l-4.5 5.5V14l-3-2V8.5z' fill='%234f6bd8'/%3E%3C/svg%3E";

/// A page for somebody who is logged in; loaded again after `refresh_s` seconds where given.
pub fn page(title: &str, refresh_s: Option<u32>, content: Markup) -> Markup {
    let refresh = refresh_s.map(|it| it.to_string());
    document(
        title,
        refresh.as_deref(),
        html! {
            header.top {
                a.home href="/" { "triage" }
                form method="post" action="/logout" { button.quiet { "Log out" } }
            }
            main { (content) }
        },
    )
}

/// A page for somebody who is not.
pub fn outside(title: &str, content: Markup) -> Markup {
    document(title, None, html! { main.narrow { (content) } })
}

/// A page that is replaced by the one that was asked for.
pub fn load_again() -> Markup {
    document(
        "One moment",
        Some("0"),
        html! { main.narrow { p { "One moment…" } } },
    )
}

/// Asks for a token.
pub fn login_form(next: &str, problem: Option<&str>) -> Markup {
    html! {
        h1 { "Log in" }
        @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
        form.stack method="post" action="/login" {
            input type="hidden" name="next" value=(next);
            label for="token" { "API token" }
            input #token type="password" name="token" required autofocus autocomplete="current-password"
                placeholder="triage_…";
            button { "Log in" }
        }
        p.hint { code { "triage token create" } " makes a token. This browser stays logged in for 12 hours." }
    }
}

/// Offers to use a login link.
pub fn link_form(link: &str) -> Markup {
    html! {
        h1 { "Log in" }
        p { "This link logs this browser in, once, for 12 hours." }
        form.stack method="post" action={ "/login/" (link) } { button { "Log in" } }
    }
}

fn document(title: &str, refresh: Option<&str>, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(refresh) = refresh { meta http-equiv="refresh" content=(refresh); }
                title { (title) " · triage" }
                link rel="icon" href=(ICON);
                link rel="stylesheet" href="/assets/triage.css";
            }
            body { (body) }
        }
    }
}

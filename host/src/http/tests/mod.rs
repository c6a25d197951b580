//! Tests of HTTP in and out, through the router and a real store.

//! The program from its start to its end: on a bus of its own, on a socket, and refused.
//!
//! Needs `dbus-daemon` and `busctl`.

mod service {
    mod bus;
    mod client;
    mod command;
    mod place;
    mod socket;
}

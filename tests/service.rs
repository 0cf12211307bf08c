//! Runs the program from start to exit: on a bus, on a socket, and with invalid arguments.
//!
//! Needs `dbus-daemon` and `busctl`.

mod service {
    mod bus;
    mod client;
    mod command;
    mod environment;
    mod socket;
}

//! One producer process, many consumer processes, one lock-free ring in named shared memory.

#![cfg_attr(loom, allow(dead_code, unused_imports, reason = "the models use the protocol alone"))]
#[cfg(not(loom))]
mod copy;
pub mod layout;
mod region;
mod ring;
mod sync;
mod sys;
mod wait;

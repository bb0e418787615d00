//! Connections to pods: which are used again, by whom, and what a dial that fails costs.

mod dialling;
mod pool;

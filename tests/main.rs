//! The list of stories.

#[cfg(test)]
mod exchange;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod http_rules;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod routing;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod smuggling;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod upstream;
#[cfg(test)]
mod webvnc;

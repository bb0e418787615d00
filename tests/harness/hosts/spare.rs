//! A second cable beside that of the client or the pod, and routes that lead over the one or the other.
//!
//! ```text
//!            client                   gateway                   pod
//!        10.214.11.2 eth2 ------- clients2  10.214.11.1
//!                                   pods2  10.214.12.1 ------- eth2  10.214.12.2
//! ```

use std::net::IpAddr;

use anyhow::Result;

use super::{Cable, Family, Hosts, plug};
use crate::netns::Namespace;

/// The device of the second cable on the client's and the pod's host.
const SPARE_DEVICE: &str = "eth2";

/// How the gateway and an end reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// By the first cable, as the addresses say.
    First,
    /// By the second one, through its addresses.
    Second,
    /// Not at all, as far as the gateway's host knows.
    None,
}

impl Cable {
    /// The device of the one beside it at the gateway's host.
    #[must_use]
    pub fn spare(self) -> &'static str {
        match self {
            Self::Clients => "clients2",
            Self::Pods => "pods2",
            Self::Strangers => "strangers2",
        }
    }

    fn spare_address(self, family: Family, end: u8) -> IpAddr {
        match self.address(family, end) {
            IpAddr::V4(address) => {
                let [a, b, network, end] = address.octets();
                [a, b, 10 + network, end].into()
            }
            IpAddr::V6(address) => {
                let [a, b, network, c, d, e, f, g] = address.segments();
                [a, b, 0x10 + network, c, d, e, f, g].into()
            }
        }
    }
}

impl Hosts {
    /// Lays the second cable.
    pub fn plug_spare(&self, cable: Cable) -> Result<()> {
        let (gateway, other) = (self.gateway(), self.at(cable));
        plug((gateway, cable.spare()), (other, SPARE_DEVICE))?;
        for (end, host, device) in [(1, gateway, cable.spare()), (2, other, SPARE_DEVICE)] {
            host.ip(&["link", "set", device, "up"])?;
            let address = cable.spare_address(self.family, end);
            let bits = if self.family == Family::V4 { 24 } else { 64 };
            let nodad: &[&str] = if self.family == Family::V6 { &["nodad"] } else { &[] };
            host.ip(&[&["address", "add", &format!("{address}/{bits}"), "dev", device], nodad].concat())?;
        }
        // While a route moves, packets come by a cable that none goes out by.
        for scope in ["all", super::DEVICE, SPARE_DEVICE] {
            other.set(&format!("ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        Ok(())
    }

    /// Takes the second cable away, and with it the routes over it.
    pub fn unplug_spare(&self, cable: Cable) -> Result<()> {
        self.gateway().ip(&["link", "delete", cable.spare()])
    }

    /// Moves the route between the gateway and the end of this cable, at both.
    pub fn route(&self, cable: Cable, route: Route) -> Result<()> {
        let [own, other] = [1, 2].map(|end| cable.address(self.family, end));
        let [own_spare, other_spare] = [1, 2].map(|end| cable.spare_address(self.family, end).to_string());
        let ends =
            [(self.gateway(), other, cable.spare(), &other_spare), (self.at(cable), own, SPARE_DEVICE, &own_spare)];
        for (host, to, device, via) in ends {
            let to = format!("{to}/{}", if self.family == Family::V4 { 32 } else { 128 });
            match route {
                Route::Second => host.ip(&["route", "replace", &to, "via", via, "dev", device])?,
                Route::None if host.name() == self.gateway().name() => {
                    host.ip(&["route", "add", "unreachable", &to])?;
                }
                Route::None => {}
                // It may be gone with its cable.
                Route::First => drop(host.ip(&["route", "delete", &to])),
            }
        }
        Ok(())
    }

    /// Has the gateway's host send what is for the end of this cable to the end's other address on it, as to a router.
    pub fn route_by_neighbour(&self, cable: Cable) -> Result<()> {
        let (to, via) = (cable.address(self.family, 2).to_string(), cable.address(self.family, 3));
        let bits = if self.family == Family::V4 { 24 } else { 64 };
        let nodad: &[&str] = if self.family == Family::V6 { &["nodad"] } else { &[] };
        self.at(cable).ip(&[&["address", "add", &format!("{via}/{bits}"), "dev", super::DEVICE], nodad].concat())?;
        self.gateway().ip(&["route", "replace", &to, "via", &via.to_string(), "dev", cable.device()])
    }

    /// Whether anything was sent to that other address.
    pub fn knows_neighbour(&self, cable: Cable) -> Result<bool> {
        let via = cable.address(self.family, 3).to_string();
        let shown = self.gateway().run("ip", &["neighbour", "show", "to", &via, "dev", cable.device()])?;
        Ok(shown.contains("lladdr"))
    }

    /// Packets that the second cable has carried, out of the gateway's host and into it.
    pub fn carried_by_spare(&self, cable: Cable) -> Result<[u64; 2]> {
        let count = |direction| -> Result<u64> {
            let path = format!("/sys/class/net/{}/statistics/{direction}_packets", cable.spare());
            let text = self.gateway().run("ip", &["netns", "exec", self.gateway().name(), "cat", &path])?;
            Ok(text.trim().parse()?)
        };
        Ok([count("tx")?, count("rx")?])
    }

    /// The host at the other end.
    fn at(&self, cable: Cable) -> &Namespace {
        match cable {
            Cable::Clients => &self.client,
            Cable::Pods => &self.pod,
            Cable::Strangers => &self.stranger,
        }
    }
}

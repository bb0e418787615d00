//! noVNC's own page in a tab, as a user sees and uses it. The same for every version: the ids and classes have not
//! changed since 1.0.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::browser::{Browser, Tab};
use crate::desktop::{Color, SIZE};
use crate::wait::PATIENCE;

/// A tab that shows a desktop.
#[derive(Debug)]
pub struct Viewer {
    tab: Tab,
}

/// What is on noVNC's canvas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels of the remote screen.
    pub width: u64,
    /// Height in pixels of the remote screen.
    pub height: u64,
    /// How many colours there are.
    pub colors: u64,
    /// The colour in the corner, where nothing but the background is.
    pub background: Color,
    /// Changes whenever anything on the screen does.
    pub checksum: u64,
}

impl Viewer {
    /// Opens `url` in a new tab. Unless its query says `autoconnect=true`, nothing is connected before
    /// [`Self::connect`].
    pub fn open(browser: &Browser, url: &str) -> Result<Self> {
        Ok(Self { tab: browser.open(url)? })
    }

    /// The tab itself.
    pub fn tab(&self) -> &Tab {
        &self.tab
    }

    /// Waits until noVNC says that it is connected.
    pub fn wait_connected(&self) -> Result<()> {
        self.tab.wait_for(&is("connected"), PATIENCE)
    }

    /// Waits until the whole desktop with this background is on the canvas, and returns the picture.
    pub fn wait_shown(&self, background: Color) -> Result<Picture> {
        self.tab.activate()?;
        let Color(red, green, blue) = background;
        let condition = format!(
            "(async () => {{ const p = {PICTURE}; return p.width === {} && p.height === {} && p.colors > 2 \
             && `${{p.background}}` === '{red},{green},{blue}'; }})()",
            SIZE.0, SIZE.1
        );
        self.tab.wait_for(&condition, PATIENCE)?;
        self.picture()
    }

    /// Waits until something on the screen has moved since `picture`.
    pub fn wait_moved(&self, picture: &Picture) -> Result<()> {
        let condition = format!("({PICTURE}).checksum !== {}", picture.checksum);
        self.tab.wait_for(&condition, PATIENCE)
    }

    /// What is on the canvas now.
    pub fn picture(&self) -> Result<Picture> {
        let value = self.tab.evaluate(PICTURE)?;
        let number = |value: &Value| value.as_u64().with_context(|| format!("no number but {value}"));
        let byte = |index: usize| Ok::<_, anyhow::Error>(u8::try_from(number(&value["background"][index])?)?);
        Ok(Picture {
            width: number(&value["width"])?,
            height: number(&value["height"])?,
            colors: number(&value["colors"])?,
            background: Color(byte(0)?, byte(1)?, byte(2)?),
            checksum: number(&value["checksum"])?,
        })
    }

    /// A picture of the whole page as a PNG, once noVNC's "connecting" curtain has been drawn aside.
    pub fn screenshot(&self) -> Result<Vec<u8>> {
        self.tab.activate()?;
        let curtain = "document.getElementById('noVNC_transition').checkVisibility({ visibilityProperty: true })";
        self.tab.wait_for(&format!("!{curtain}"), PATIENCE)?;
        self.tab.screenshot()
    }

    /// Presses the button that ends the session, and waits until it has ended.
    pub fn disconnect(&self) -> Result<()> {
        self.tab.evaluate("document.getElementById('noVNC_disconnect_button').click()")?;
        self.tab.wait_for(&format!("!{} && !{}", is("connected"), is("disconnecting")), PATIENCE)
    }

    /// Presses the button that starts a session, and waits until it is there.
    pub fn connect(&self) -> Result<()> {
        self.tab.evaluate("document.getElementById('noVNC_connect_button').click()")?;
        self.wait_connected()
    }

    /// Ends the session and starts another one, through noVNC's own buttons.
    pub fn reconnect(&self) -> Result<()> {
        self.disconnect()?;
        self.connect()
    }
}

/// noVNC keeps its state as a class of the root element.
fn is(state: &str) -> String {
    format!("document.documentElement.classList.contains('noVNC_{state}')")
}

/// Reads the canvas. The checksum is FNV-1a over whole pixels, in 32 bits.
const PICTURE: &str = "(() => {
    const canvas = document.querySelector('#noVNC_container canvas');
    const { width, height } = canvas;
    const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
    const pixels = new Uint32Array(data.buffer);
    let checksum = 0x811c9dc5;
    for (const pixel of pixels) checksum = Math.imul(checksum ^ pixel, 0x01000193);
    const at = (width * 5 + 5) * 4;
    const background = [data[at], data[at + 1], data[at + 2]];
    return { width, height, colors: new Set(pixels).size, background, checksum: checksum >>> 0 };
})()";

//! One tab: its page, its script world, its picture and what it complained about.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::devtools::{self, DevTools};
use crate::wait;

/// A tab of the browser. It stays open until the browser ends.
#[derive(Debug)]
pub struct Tab {
    devtools: Arc<Mutex<DevTools>>,
    target: String,
    session: String,
}

impl Tab {
    pub(super) fn create(devtools: Arc<Mutex<DevTools>>) -> Result<Self> {
        let created = devtools::call(&devtools, None, "Target.createTarget", &json!({ "url": "about:blank" }))?;
        let target = text(&created, "targetId")?;
        let attach = json!({ "targetId": target, "flatten": true });
        let session = text(&devtools::call(&devtools, None, "Target.attachToTarget", &attach)?, "sessionId")?;
        let tab = Self { devtools, target, session };
        for domain in ["Page", "Runtime", "Log"] {
            tab.call(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(tab)
    }

    /// Starts to load `url`; an error when the browser cannot reach it at all.
    pub fn navigate(&self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", &json!({ "url": url }))?;
        match answer.get("errorText") {
            Some(error) => bail!("{url}: {error}"),
            None => Ok(()),
        }
    }

    /// Loads the page again, as a user does.
    pub fn reload(&self) -> Result<()> {
        self.call("Page.reload", &json!({})).map(drop)
    }

    /// Evaluates a script in the page and returns its value, after it is settled if it is a promise.
    pub fn evaluate(&self, script: &str) -> Result<Value> {
        let params = json!({ "expression": script, "returnByValue": true, "awaitPromise": true, "userGesture": true });
        let mut answer = self.call("Runtime.evaluate", &params)?;
        match answer.get("exceptionDetails") {
            Some(details) => bail!("{script}: {details}"),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Waits until `condition` is true in the page, whatever page that is by then.
    pub fn wait_for(&self, condition: &str, limit: Duration) -> Result<()> {
        let mut last = None;
        let reached = wait::until(condition, limit, || {
            let answer = self.evaluate(condition);
            let holds = matches!(answer, Ok(Value::Bool(true)));
            last = Some(answer);
            holds.then_some(())
        });
        reached.with_context(|| format!("the page last said {last:?}; its log: {:#?}", self.log()))
    }

    /// Brings the tab to the front, where it is drawn.
    pub fn activate(&self) -> Result<()> {
        devtools::call(&self.devtools, None, "Target.activateTarget", &json!({ "targetId": self.target })).map(drop)
    }

    /// Types `text` key by key into what has the focus; a line feed is the Enter key.
    pub fn type_text(&self, text: &str) -> Result<()> {
        text.chars().try_for_each(|character| {
            let (key, code, text) = match character {
                '\n' => ("Enter".to_owned(), 13, "\r".to_owned()),
                other => (other.to_string(), 0, other.to_string()),
            };
            let down = json!({ "type": "keyDown", "key": key, "text": text, "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", &down)?;
            let up = json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", &up).map(drop)
        })
    }

    /// A picture of the visible part of the page, as the bytes of a PNG file.
    pub fn screenshot(&self) -> Result<Vec<u8>> {
        self.activate()?;
        let answer = self.call("Page.captureScreenshot", &json!({ "format": "png" }))?;
        BASE64_STANDARD.decode(text(&answer, "data")?).context("decode the screenshot")
    }

    /// What the page wrote to the console, exceptions that nobody caught, and what the browser complained about.
    pub fn log(&self) -> Vec<String> {
        devtools::events(&self.devtools, &self.session).iter().filter_map(log_line).collect()
    }

    fn call(&self, method: &str, params: &Value) -> Result<Value> {
        devtools::call(&self.devtools, Some(&self.session), method, params)
    }
}

fn log_line(event: &Value) -> Option<String> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Runtime.consoleAPICalled" => Some(format!("console {}: {}", params["type"], params["args"])),
        "Runtime.exceptionThrown" => Some(format!("exception: {}", params["exceptionDetails"])),
        "Log.entryAdded" => Some(format!("browser: {} {}", params["entry"]["text"], params["entry"]["url"])),
        _ => None,
    }
}

fn text(answer: &Value, field: &str) -> Result<String> {
    Ok(answer[field].as_str().with_context(|| format!("an answer without {field}"))?.to_owned())
}

//! JupyterLab: a page of a hundred assets, an API that compares Origin with Host, and a kernel behind a WebSocket.

use std::collections::BTreeSet;

use gateway_tests::application::jupyter;
use gateway_tests::browser::Browser;
use gateway_tests::gateway::{Gateway, field};
use gateway_tests::wait::PATIENCE;

use super::{PREFIX, by_host, by_prefix, gateway, is_missing, two_hops, wait_stream};

/// Its kernel counts how often it has been asked, in numbers that the notebook's text does not have.
const NOTEBOOK: &str = r#"{
 "cells": [{"cell_type": "code", "execution_count": null, "id": "one", "metadata": {}, "outputs": [],
   "source": "asked = globals().get('asked', 0) + 1; print('answer', asked * 111)"}],
 "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
 "nbformat": 4, "nbformat_minor": 5
}"#;

/// What the gateway asks for where there is one hop; it is for every sandbox.
const TOKEN: &str = "let-me-in-0123456789abcdef";

/// Opens the notebook and runs it. Until its kernel is connected, running a cell would ask which one to use.
const RUN: &str = "void (async () => {
    const { context } = await jupyterapp.commands.execute('docmanager:open', { path: 'one.ipynb' });
    await context.ready;
    await context.sessionContext.ready;
    await jupyterapp.commands.execute('notebook:run-all-cells');
})()";

#[test]
fn a_notebook_runs_its_cells() {
    if is_missing(&[jupyter::need()]) {
        return;
    }
    let files = [("one.ipynb", NOTEBOOK)];
    let at_root = jupyter::start("", &files).unwrap();
    let below = jupyter::start(PREFIX, &files).unwrap();
    let (at_root, below) = (at_root.ready().unwrap(), below.ready().unwrap());
    let port = below.address().port().to_string();
    let guarded = ["--auth-token", TOKEN, "--host-header", "pass", "--service-prefix-keep", &port];
    let gateway = gateway(&guarded);
    let (edge, agent) = two_hops(&["--host-header", "pass"]);
    let browser = Browser::launch().unwrap();
    run_cells(&browser, &by_host(&gateway, &at_root), "answer 111");
    assert_kernel_asked(&gateway);
    wait_stream(&gateway, at_root.address());
    // The same kernel, by another way.
    run_cells(&browser, &by_host(&edge, &at_root), "answer 222");
    assert_kernel_asked(&edge);
    assert_kernel_asked(&agent);
    wait_stream(&edge, agent.addr());
    wait_stream(&agent, at_root.address());
    run_cells(&browser, &by_prefix(&gateway, &below), "answer 111");
    wait_stream(&gateway, below.address());
    // Everything that was set for the shared origin stays with the sandbox: the gateway's cookie and the application's.
    let cookies = browser.cookies().unwrap();
    let shared: Vec<_> = cookies.iter().filter(|cookie| cookie["domain"] == *gateway.addr().ip().to_string()).collect();
    let paths: BTreeSet<_> = shared.iter().filter_map(|cookie| cookie["path"].as_str()).collect();
    assert_eq!(paths, BTreeSet::from([&*format!("{PREFIX}/"), &*format!("{PREFIX}/{port}/")]), "{cookies:?}");
}

/// Opens the application at `start` with the gateway's token, then the notebook in it, and runs that.
fn run_cells(browser: &Browser, start: &str, output: &str) {
    let tab = browser.open(&format!("{start}/?gateway_token={TOKEN}")).unwrap();
    tab.wait_for(&format!("location.href.startsWith('{start}/lab')"), PATIENCE).unwrap();
    tab.wait_for("globalThis.jupyterapp?.restored.then(() => true) ?? false", PATIENCE).unwrap();
    tab.evaluate(RUN).unwrap();
    let shown = "document.querySelector('.jp-OutputArea-output')?.innerText";
    tab.wait_for(&format!("{shown}?.includes('{output}') ?? false"), PATIENCE).unwrap();
}

/// A kernel's WebSocket was opened through `gateway`.
fn assert_kernel_asked(gateway: &Gateway) {
    let asked = gateway.logged("the kernel's socket", PATIENCE, |record| {
        let path = field(record, "path").and_then(|path| path.as_str()).unwrap_or_default();
        path.contains("/api/kernels/")
            && path.ends_with("/channels")
            && field(record, "status").is_some_and(|s| *s == 101)
    });
    asked.unwrap();
}

//! `cargo run -p quickstart`: the published configuration from end to end, on one machine and without a provider.
//!
//! It does what an operator does: builds a plugin, puts the library beside `config.yaml`, starts `keyway` on it
//! and sends a chat completion. Each step shows what happened; anything else than expected is an error.

mod build;
mod chat;
mod gateway;
mod report;
mod scene;
mod screen;
mod stop;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

use self::{scene::Scene, screen::Screen, stop::Stop};

/// Loads a compiled secret manager into Keyway and sends a chat completion through it.
#[derive(Parser)]
struct Args {
    /// Stop after the demonstration instead of going on serving.
    #[arg(long)]
    once: bool,
    /// The gateway's port; 0 for any free one.
    #[arg(long, default_value_t = 4000)]
    port: u16,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let screen = Screen::new();
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads of this program")
        .and_then(|runtime| runtime.block_on(run(&args, &screen)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen.error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Runs the demonstration. Ctrl-C ends it at any time, and the folder goes with it.
async fn run(args: &Args, screen: &Screen) -> Result<()> {
    let mut stop = Stop::new().context("cannot listen for Ctrl-C")?;
    let (gateway, scene) = tokio::select! {
        biased;
        () = stop.signalled() => anyhow::bail!("stopped before the demonstration was complete"),
        shown = demonstrate(args, screen) => shown?,
    };
    if args.once {
        gateway.stop().await?;
        drop(scene);
        screen.done("Everything was as it should be; the gateway and its folder are gone again.");
        return Ok(());
    }
    go_on(gateway, scene, screen, stop).await
}

async fn demonstrate(args: &Args, screen: &Screen) -> Result<(gateway::Gateway, Scene)> {
    gateway::check_port(args.port)?;

    screen.step("Build the plugin and the host");
    let built = build::build().await?;
    screen.fact("plugin", &built.plugin.display().to_string());
    screen.fact("host", &built.keyway.display().to_string());

    screen.step("Put the plugin beside config.yaml, as an operator does");
    let scene = Scene::set_up(&built).await?;
    screen.fact("folder", &scene.folder().display().to_string());
    screen.fact("files", &scene.files().join(", "));
    screen.fact("upstream", &format!("{} (a mock of OpenAI's API, in this process)", scene.upstream.base()));
    screen.fact("master key", &scene.master_key_origin());

    screen.step("Ask the plugin, with `keyway secret get OPENAI_API_KEY --config config.yaml`");
    let held = scene.ask_plugin(&built.keyway).await?;
    screen.fact("answer", &format!("{} bytes; shown here as {}", held.len(), report::redacted(&held)));

    screen.step(&format!("Start `keyway --config config.yaml --port {}`", args.port));
    let (gateway, started) = gateway::Gateway::start(&built.keyway, &scene, args.port).await?;
    report::show_plugin(screen, &started)?;
    report::show_references(screen, &started)?;
    screen.fact("serving on", gateway.url());

    screen.step("Send a chat completion to the gateway, with the master key");
    let answer = chat::complete(gateway.url(), &scene.master_key).await?;
    screen.fact("answer", &format!("{:?} (model {})", answer.content, answer.model));
    chat::refused_without_key(gateway.url()).await?;
    screen.fact("without a key", "refused with 401, and nothing reached the upstream");

    screen.step("Look at what the upstream received");
    scene.check_upstream(&held)?;
    screen.fact("authorization", &format!("Bearer {}", report::redacted(&held)));
    screen.fact("equal to what the plugin holds", "yes");
    Ok((gateway, scene))
}

async fn go_on(mut gateway: gateway::Gateway, scene: Scene, screen: &Screen, mut stop: Stop) -> Result<()> {
    screen.step("Try it yourself; Ctrl-C stops");
    screen.text(&chat::curl(gateway.url(), &scene, false));
    screen.text("");
    screen.text(&chat::curl(gateway.url(), &scene, true));
    screen.text("");
    tokio::select! {
        biased;
        () = stop.signalled() => {}
        ended = gateway.follow(screen) => return ended,
    }
    gateway.stop().await?;
    drop(scene);
    screen.done("Stopped; the folder is gone again.");
    Ok(())
}

//! What `--env` shows: the build and the machine.

use std::process::Command;

const N_A: &str = "N/A";

/// The label of the container image, when the build was given one.
pub fn docker_label() -> Option<&'static str> {
    option_env!("DOCKER_LABEL")
}

/// The build and the machine as text of several lines.
pub fn describe() -> String {
    let libc = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    let (architecture, system) = (std::env::consts::ARCH, std::env::consts::OS);
    format!(
        "Runtime environment:\nTarget: {architecture}-unknown-{system}-{libc}\nVersion: {}\nCommit sha: {}\n\
         Docker label: {}\nnvidia-smi:\n{}\nxpu-smi:\n{}\nhl-smi:\n{}",
        env!("CARGO_PKG_VERSION"),
        option_env!("GIT_SHA").unwrap_or(N_A),
        docker_label().unwrap_or(N_A),
        output_of("nvidia-smi"),
        output_of("xpu-smi"),
        output_of("hl-smi"),
    )
}

fn output_of(program: &str) -> String {
    match Command::new(program).output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            format!("   {}", text.trim().replace('\n', "\n   "))
        }
        _ => N_A.to_owned(),
    }
}

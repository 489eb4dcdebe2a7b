//! The `colchis` command.

fn main() -> std::process::ExitCode {
    colchis::io::cli::main()
}

//! Compiles the CUDA kernels, if GPUs were asked for.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    if let Err(error) = kernels() {
        println!(
            "cargo::error=the feature `cuda` needs the CUDA toolkit (nvcc), whose folder CUDA_HOME or PATH names: {error}"
        );
    }
}

/// Makes `$OUT_DIR/kernels.rs`, which has a constant with the PTX of each file.
#[cfg(feature = "cuda")]
fn kernels() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-env-changed=NVCC");
    // Arguments are part of what is compared to find out whether kernels are still what they were; the compiler is not.
    println!("cargo::rerun-if-env-changed=FEEDLINE_TOOLKIT");
    let toolkit = std::env::var("FEEDLINE_TOOLKIT").unwrap_or_default();
    let folder = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    // The pipeline's random numbers.
    let headers = std::env::var("DEP_FEEDLINE_PIPELINE_KERNELS")?;
    cudaforge::KernelBuilder::new()
        .source_dir("src/cuda/kernels")
        .watch(["src/cuda/kernels", headers.as_str()])
        .arg(&format!("-I{headers}"))
        .arg("-std=c++17")
        .arg("-O3")
        .arg(&format!("-DTOOLKIT={toolkit}"))
        .build_ptx()?
        .write(folder.join("kernels.rs"))?;
    Ok(())
}

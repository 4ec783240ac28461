"""The stages of the GPU run, one file each: `run(box)` gives what the stage found."""

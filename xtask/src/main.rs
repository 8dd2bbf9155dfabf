//! What a person does to the repository: `demo`, `test`, `ebpf`, `bench`, `tidy`.

fn main() {}

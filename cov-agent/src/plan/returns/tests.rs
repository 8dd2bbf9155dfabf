//! Functions in assembly, and what is concluded of calls of them.

use super::*;
use crate::object::{Bytes, DebugSearch, parse};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// What is known of the calls of `caller`, in their order, in a library of the functions `name: body`.
fn calls(functions: &[(&str, &str)], called: &[&str]) -> Vec<(String, Returns)> {
    let dir = tempfile::tempdir().unwrap();
    let function = |name: &str, body: &str| {
        format!(".type {name}, @function\n{name}:\n.cfi_startproc\n{body}\n.cfi_endproc\n.size {name}, .-{name}\n")
    };
    let bodies: String = functions.iter().map(|(name, body)| function(name, body)).collect();
    let caller: String = called.iter().map(|name| format!("call {name}\n")).collect();
    let caller = function("caller", &format!("push %rbx\n{caller}pop %rbx\nret"));
    std::fs::write(dir.path().join("calls.s"), format!(".globl exported\n.text\n{bodies}{caller}")).unwrap();
    let flags = ["-nostdlib", "-shared", "-g", "-o", "calls", "calls.s"];
    assert!(Command::new("gcc").args(flags).current_dir(dir.path()).status().unwrap().success());
    let bytes = std::fs::read(dir.path().join("calls")).unwrap();
    let object = parse(Path::new("calls"), &(Arc::new(bytes) as Bytes), &DebugSearch::default(), &|_| true).unwrap();
    let layout = Layout::new(&object);
    let caller = object.image.symbols.iter().find(|s| s.name == "caller").unwrap().range.start;
    let region = layout.begun_at(caller.0).unwrap();
    let code = explore_all(&object, &layout, &BTreeSet::from([region])).remove(&region).unwrap();
    let returns = code.insns.iter().filter_map(|insn| match insn.flow {
        Flow::Call { returns, .. } => Some(returns),
        _ => None,
    });
    called.iter().map(|&name| name.to_owned()).zip(returns).collect()
}

fn check(returns: Returns, functions: &[(&str, &str)], called: &[&str]) {
    let want: Vec<_> = called.iter().map(|&name| (name.to_owned(), returns)).collect();
    assert_eq!(calls(functions, called), want);
}

#[test]
fn what_comes_back() {
    let functions = [
        ("leaf", "lea 1(%rdi),%eax\nret"),
        ("framed", "push %rbp\nmov %rsp,%rbp\nsub $0x40,%rsp\nand $-16,%rsp\nmov %rdi,-8(%rbp)\ncall leaf\nleave\nret"),
        ("recursive", "test %edi,%edi\nje 1f\npush %rbx\ndec %edi\ncall recursive\npop %rbx\n1: ret"),
        ("tail", "test %edi,%edi\nje leaf\njmp framed"),
        ("copies", "sub $8,%rsp\ncall memcpy@PLT\nadd $8,%rsp\njmp strlen@PLT"),
        ("copies_through_slot", "sub $8,%rsp\ncall *memcpy@GOTPCREL(%rip)\nadd $8,%rsp\nret"),
        ("loops", "1: dec %edi\njne 1b\nret"),
        ("reads_arguments", "mov 8(%rsp),%rax\nret"),
    ];
    let names = functions.map(|(name, _)| name);
    check(Returns::Surely, &functions, &names);
    check(Returns::Surely, &[], &["memcpy@PLT", "strlen@PLT", "pthread_mutex_unlock@PLT", "_ZdlPv@PLT"]);
}

#[test]
fn what_may_not_come_back() {
    let functions = [
        ("leaf", "ret"),
        ("system_call", "syscall\nret"),
        ("through_pointer", "sub $8,%rsp\ncall *%rdi\nadd $8,%rsp\nret"),
        ("jumps_through_pointer", "jmp *%rdi"),
        ("prints", "sub $8,%rsp\ncall printf@PLT\nadd $8,%rsp\nret"),
        ("caller_of_prints", "sub $8,%rsp\ncall prints\nadd $8,%rsp\nret"),
        ("jumps_to_prints", "test %edi,%edi\nje prints\nret"),
        ("may_exit", "test %edi,%edi\nje 1f\nret\n1: push %rbx\ncall exit@PLT"),
        ("may_trap", "test %edi,%edi\nje 1f\nret\n1: ud2"),
        ("may_stay", "test %edi,%edi\nje 1f\nret\n1: jmp 1b"),
        ("waits", "1: pause\ncmpl $0,(%rdi)\nje 1b\nret"),
        ("other_stack", "mov %rsp,(%rdi)\nmov (%rsi),%rsp\nret"),
        ("like_setjmp", "mov (%rsp),%rax\nmov %rax,(%rdi)\nxor %eax,%eax\nret"),
        ("like_setjmp_in_frame", "push %rbp\nmov %rsp,%rbp\nmov 8(%rbp),%rax\nmov %rax,(%rdi)\npop %rbp\nret"),
        ("pops_return_address", "pop %rax\npush %rax\nmov %rax,(%rdi)\njmp *%rax"),
        ("returns_elsewhere", "push %rdi\nret"),
        ("writes_return_address", "mov %rdi,(%rsp)\nret"),
        ("jumps_amid", "push %rbx\njmp leaf"),
        ("next_to_nothing", "call 1f\n1: pop %rax\nret"),
    ];
    let names = functions.map(|(name, _)| name);
    check(Returns::Perhaps, &functions, names.get(1..).unwrap());
    check(
        Returns::Perhaps,
        &[],
        &[
            "printf@PLT",
            "setjmp@PLT",
            "fork@PLT",
            "pthread_cond_wait@PLT",
            "pthread_mutex_lock@PLT",
            "qsort@PLT",
            "_Znwm@PLT",
        ],
    );
}

#[test]
fn an_exported_function_may_be_replaced_by_another_object() {
    let functions = [("exported", "ret"), ("hidden", "ret"), ("uses", "jmp exported@PLT")];
    check(Returns::Perhaps, &functions, &["exported@PLT", "uses"]);
    check(Returns::Surely, &functions, &["hidden"]);
}

#[test]
fn what_never_comes_back() {
    let functions = [
        ("dies", "push %rbx\ncall abort@PLT"),
        ("dies_in_turn", "push %rbx\ncall dies"),
        ("dies_by_jump", "jmp exit@PLT"),
        ("traps", "ud2"),
        ("stays", "1: jmp 1b"),
    ];
    let names = functions.map(|(name, _)| name);
    // Behind the first of such calls nothing is code, unless something else leads there.
    for name in names {
        check(Returns::Never, &functions, &[name]);
    }
    check(Returns::Never, &[], &["abort@PLT"]);
    // What hands on its return address may be come back for.
    let switch = [("schedules", "mov (%rsp),%rax\nmov %rax,(%rdi)\npush %rbx\ncall abort@PLT")];
    check(Returns::Perhaps, &switch, &["schedules"]);
}

//! What is decoded from bytes.

use super::*;
use Instruction::{Emulated, SingleStepped};

fn insn(bytes: &[u8]) -> Insn {
    let (insn, _) = decode(bytes, 0x1000).unwrap();
    assert_eq!(usize::from(insn.len), bytes.len(), "{bytes:x?}");
    insn
}

#[test]
fn emulated() {
    let cases: &[&[u8]] = &[
        &[0x90],
        &[0x66, 0x90],
        &[0x55],
        &[0x41, 0x57],
        &[0xeb, 0x10],
        &[0xe9, 0, 1, 0, 0],
        &[0xe8, 0, 1, 0, 0],
        &[0x74, 0x10],
        &[0x0f, 0x8f, 0, 1, 0, 0],
        &[0xf2, 0xe9, 0, 1, 0, 0], // bnd jmp
    ];
    for case in cases {
        assert_eq!(insn(case).probe, Some(Emulated), "{case:x?}");
    }
}

#[test]
fn single_stepped() {
    let cases: &[&[u8]] = &[
        &[0x48, 0x89, 0xe5],                            // mov %rsp,%rbp
        &[0xf3, 0x0f, 0x1e, 0xfa],                      // endbr64
        &[0xc3],                                        // ret
        &[0xf3, 0xc3],                                  // rep ret
        &[0xff, 0xd0],                                  // call *%rax
        &[0x0f, 0x1f, 0x40, 0x00],                      // 4-byte nop
        &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],          // 6-byte nop
        &[0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0], // mov %fs:0x28,%rax
        &[0xf3, 0x0f, 0x10, 0x00],                      // movss
        &[0xa4],                                        // movsb
        &[0x48, 0x50],                                  // push with a prefix that does nothing
    ];
    for case in cases {
        assert_eq!(insn(case).probe, Some(SingleStepped), "{case:x?}");
    }
}

#[test]
fn must_not_carry_a_probe() {
    let cases: &[(&str, &[u8])] = &[
        ("syscall", &[0x0f, 0x05]),
        ("lock xadd", &[0xf0, 0x0f, 0xc1, 0x07]),
        ("notrack jmp *%rax", &[0x3e, 0xff, 0xe0]),
        ("cs nopw", &[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0]),
        ("jne with a branch hint", &[0x2e, 0x75, 0x10]),
        ("5-byte nop", &[0x0f, 0x1f, 0x44, 0, 0]),
        ("another 5-byte nop", &[0x66, 0x0f, 0x1f, 0x40, 0]),
        ("rep stos", &[0xf3, 0x48, 0xab]),
        ("repne scas", &[0xf2, 0xae]),
        ("vpor", &[0xc5, 0xf1, 0xeb, 0xc2]),
        ("vzeroupper", &[0xc5, 0xf8, 0x77]),
        ("EVEX vmovdqu64", &[0x62, 0xf1, 0xfe, 0x48, 0x6f, 0x07]),
        ("hlt", &[0xf4]),
        ("int3", &[0xcc]),
        ("int $0x80", &[0xcd, 0x80]),
        ("in", &[0xec]),
        ("ud2", &[0x0f, 0x0b]),
        ("mfence", &[0x0f, 0xae, 0xf0]),
        ("rdtscp", &[0x0f, 0x01, 0xf9]),
        ("pushf", &[0x9c]),
        ("popf", &[0x9d]),
        ("iretq", &[0x48, 0xcf]),
        ("xchg %r8,%rax", &[0x49, 0x90]),
        ("xbegin", &[0xc7, 0xf8, 0, 1, 0, 0]),
        ("mov %eax,%ss", &[0x8e, 0xd0]),
        ("lea with 32-bit address", &[0x67, 0x8d, 0x00]),
    ];
    for (name, case) in cases {
        assert_eq!(insn(case).probe, None, "{name}");
    }
}

#[test]
fn control_flow() {
    assert_eq!(insn(&[0xeb, 0x10]).flow, Flow::Jump { target: 0x1012 });
    let jg = Flow::Branch { target: 0x1012, condition: Some(Condition(15)) };
    assert_eq!(insn(&[0x7f, 0x10]).flow, jg);
    let jae = Flow::Branch { target: 0x1106, condition: Some(Condition(3)) };
    assert_eq!(insn(&[0x0f, 0x83, 0, 1, 0, 0]).flow, jae);
    assert_eq!(insn(&[0xe3, 0x10]).flow, Flow::Branch { target: 0x1012, condition: None }, "jrcxz");
    assert_eq!(insn(&[0x2e, 0x75, 0x10]).flow, Flow::Branch { target: 0x1013, condition: None }, "no probe there");
    let call = |callee| Flow::Call { callee, returns: Returns::Perhaps };
    assert_eq!(insn(&[0xe8, 0, 1, 0, 0]).flow, call(Callee::Direct(0x1105)));
    assert_eq!(insn(&[0xff, 0x15, 0, 1, 0, 0]).flow, call(Callee::Slot(0x1106)));
    assert_eq!(insn(&[0xff, 0xd0]).flow, call(Callee::Unknown));
    assert_eq!(insn(&[0x0f, 0x05]).flow, call(Callee::Unknown), "syscall");
    assert_eq!(insn(&[0xff, 0x25, 0, 1, 0, 0]).flow, Flow::Indirect { slot: Some(0x1106) });
    assert_eq!(insn(&[0xff, 0xe0]).flow, Flow::Indirect { slot: None });
    for stop in [&[0xc3][..], &[0x0f, 0x0b], &[0xf4]] {
        assert_eq!(insn(stop).flow, Flow::Stop);
    }
    assert_eq!(insn(&[0x90]).flow, Flow::Next);
}

#[test]
fn mentions() {
    let mention = |bytes: &[u8]| decode(bytes, 0x1000).unwrap().1;
    assert_eq!(mention(&[0x48, 0x8d, 0x05, 0, 1, 0, 0]), Some(Mention::Address(0x1107)));
    assert_eq!(mention(&[0xbf, 0, 0x20, 0x40, 0]), Some(Mention::Address(0x40_2000)));
    assert_eq!(mention(&[0xff, 0x24, 0xc5, 0, 0x20, 0x40, 0]), Some(Mention::Table(0x40_2000)));
    assert_eq!(mention(&[0x48, 0x89, 0xe5]), None);
}

#[test]
fn addresses_of_data() {
    let lea = [0x48, 0x8d, 0x05, 0, 1, 0, 0];
    let then = |code: &[u8]| reads_from(&[&lea[..], code].concat(), 0x1000);
    assert!(then(&[0x48, 0x63, 0x14, 0xb8]), "movslq (%rax,%rdi,4),%rdx");
    assert!(then(&[0x90, 0x48, 0x63, 0x14, 0x07]), "movslq (%rdi,%rax,1),%rdx");
    assert!(!then(&[0xff, 0xe0]), "jmp *%rax");
    assert!(!then(&[0x48, 0x89, 0xf8, 0x48, 0x8b, 0x00]), "mov %rdi,%rax; mov (%rax),%rax");
    assert!(!then(&[0x48, 0x8d, 0x14, 0xb8]), "lea (%rax,%rdi,4),%rdx");
    assert!(!then(&[]));
}

#[test]
fn nothing_to_decode() {
    assert_eq!(decode(&[], 0), None);
    assert_eq!(decode(&[0x0f], 0), None);
    assert_eq!(decode(&[0x06], 0), None);
}

#[test]
fn the_stack() {
    let cases: &[(&[u8], Stack)] = &[
        (&[0x90], Stack::Keeps),
        (&[0x55], Stack::Moves(-8)),                             // push %rbp
        (&[0x6a, 0x01], Stack::Moves(-8)),                       // push $1
        (&[0x41, 0x5f], Stack::Moves(8)),                        // pop %r15
        (&[0x5d], Stack::PopsFrame),                             // pop %rbp
        (&[0x5c], Stack::Odd),                                   // pop %rsp
        (&[0x48, 0x83, 0xec, 0x18], Stack::Moves(-0x18)),        // sub $0x18,%rsp
        (&[0x48, 0x81, 0xc4, 0, 1, 0, 0], Stack::Moves(0x100)),  // add $0x100,%rsp
        (&[0x48, 0x83, 0xe4, 0xf0], Stack::Grows),               // and $-16,%rsp
        (&[0x48, 0x29, 0xc4], Stack::Grows),                     // sub %rax,%rsp
        (&[0x48, 0x89, 0xe5], Stack::Frames(0)),                 // mov %rsp,%rbp
        (&[0x48, 0x89, 0xec], Stack::Unframes(0)),               // mov %rbp,%rsp
        (&[0x48, 0x8d, 0x65, 0xd8], Stack::Unframes(-0x28)),     // lea -0x28(%rbp),%rsp
        (&[0x48, 0x8d, 0x64, 0x24, 0x08], Stack::Moves(8)),      // lea 8(%rsp),%rsp
        (&[0x48, 0x8d, 0x44, 0x24, 0x08], Stack::Keeps),         // lea 8(%rsp),%rax
        (&[0xc9], Stack::Leaves),                                // leave
        (&[0xc3], Stack::Returns),                               // ret
        (&[0xf3, 0xc3], Stack::Returns),                         // rep ret
        (&[0xc2, 0x08, 0x00], Stack::Odd),                       // ret $8
        (&[0x48, 0x89, 0xfc], Stack::Odd),                       // mov %rdi,%rsp
        (&[0x48, 0x8b, 0x67, 0x30], Stack::Odd),                 // mov 0x30(%rdi),%rsp
        (&[0x48, 0x87, 0xe0], Stack::Odd),                       // xchg %rsp,%rax
        (&[0xff, 0x34, 0x24], Stack::Odd),                       // push (%rsp)
        (&[0x48, 0x8b, 0x04, 0x24], Stack::Touches(0)),          // mov (%rsp),%rax
        (&[0x48, 0x89, 0x44, 0x24, 0x10], Stack::Touches(0x10)), // mov %rax,0x10(%rsp)
        (&[0x48, 0x8b, 0x45, 0x08], Stack::TouchesFrame(8)),     // mov 8(%rbp),%rax
        (&[0x31, 0xed], Stack::DropsFrame),                      // xor %ebp,%ebp
        (&[0x48, 0x39, 0xe5], Stack::Keeps),                     // cmp %rsp,%rbp
        (&[0xf3, 0x90], Stack::Odd),                             // pause
    ];
    for (bytes, stack) in cases {
        assert_eq!(insn(bytes).stack, *stack, "{bytes:x?}");
    }
}

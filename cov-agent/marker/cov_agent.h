/* Tells cov-agent which test, request or phase the calling thread is in: cov_agent_context("name") until it is called
 * again, cov_agent_context(0) for none. A no-operation, and a note that says where it is: nothing is linked, and nothing is
 * called. For x86-64 and C or C++ (GNU syntax). SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef COV_AGENT_H
#define COV_AGENT_H

static inline void cov_agent_context(const char *name) {
    /* The kernel side reads what is in memory, and a constant may not have been read from the file yet. */
    for (const volatile char *c = name; c && *c; c++)
        ;
    register const char *argument __asm__("rdi") = name;
    /* SystemTap's note (type 3): the place, the base, no semaphore; provider, name, where the argument is. */
    __asm__ __volatile__("990: nop\n"
                         ".pushsection .note.stapsdt,\"\",\"note\"\n"
                         ".balign 4\n"
                         ".4byte 992f-991f, 994f-993f, 3\n"
                         "991: .asciz \"stapsdt\"\n"
                         "992: .balign 4\n"
                         "993: .8byte 990b, 0, 0\n"
                         ".asciz \"cov_agent\"\n"
                         ".asciz \"context\"\n"
                         ".asciz \"8@%%rdi\"\n"
                         "994: .balign 4\n"
                         ".popsection\n"
                         :
                         : "r"(argument)
                         : "memory");
}

#endif

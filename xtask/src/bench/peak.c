/* Preloaded: tells at the end how much memory a process had at most. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((destructor)) static void tell(void) {
    char program[4096], line[256];
    const char *to = getenv("PEAK");
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    FILE *status = fopen("/proc/self/status", "r"), *out = to ? fopen(to, "a") : NULL;
    while (status && out && length > 0 && fgets(line, sizeof line, status))
        if (!strncmp(line, "VmHWM:", 6))
            fprintf(out, "%ld %.*s\n", atol(line + 6), (int)length, program);
    if (out)
        fclose(out);
}

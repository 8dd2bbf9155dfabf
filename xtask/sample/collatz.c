/* How long is the Collatz sequence of a number? The program that `cargo xtask demo` measures. */
#include <stdio.h>
#include <stdlib.h>

static int halved, tripled;

static long next(long n) {
    if (n % 2 == 0) {
        halved++;
        return n / 2;
    }
    tripled++;
    return 3 * n + 1;
}

static int length(long n) {
    int steps = 1;
    while (n != 1) {
        n = next(n);
        if (n <= 0) {
            fprintf(stderr, "overflow\n");
            exit(1);
        }
        steps++;
    }
    return steps;
}

static void usage(const char *name) {
    fprintf(stderr, "usage: %s NUMBER...\n", name);
    exit(2);
}

int main(int argc, char **argv) {
    if (argc < 2)
        usage(argv[0]);
    for (int i = 1; i < argc; i++) {
        long n = atol(argv[i]);
        if (n < 1)
            usage(argv[0]);
        printf("%ld: %d\n", n, length(n));
    }
    printf("halved %d times, tripled %d times\n", halved, tripled);
    return 0;
}

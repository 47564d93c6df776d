/* Preloaded into a process, it makes the clock of its host wrong by CLOCK_SHIFT_SECONDS. The monotonic clock, which has
   no date, stays as it is. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = (int)syscall(SYS_clock_gettime, clock, at);
    const char *shift = getenv("CLOCK_SHIFT_SECONDS");
    if (failed == 0 && clock == CLOCK_REALTIME && shift != NULL)
        at->tv_sec += atol(shift);
    return failed;
}

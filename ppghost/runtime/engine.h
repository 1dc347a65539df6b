/* ppghost's inference engine for GhostNet on a CPU: the public interface, for C and C++.
 *
 *     char error[512];
 *     GhostNetwork *network = ghost_open("inference.ghost", "inference.pdiparams", "fp32", error, sizeof error);
 *     GhostSession *session = network ? ghost_start(network, 2, error, sizeof error) : NULL;
 *     if (!session || ghost_run(session, images, 1, 224, 224, scores, error, sizeof error))
 *         puts(error);
 *
 * A network is read once and never changes; any number of sessions, each for one thread at a time, share its
 * weights. Every function that can fail takes a buffer and writes a sentence into it. Nothing is printed.
 */
#ifndef PPGHOST_ENGINE_H
#define PPGHOST_ENGINE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct GhostNetwork GhostNetwork;
typedef struct GhostSession GhostSession;

typedef struct {
    int channels;             /* of a picture */
    int classes;              /* length of one row of scores */
    const char *instructions; /* the instruction set in use: "avx512", "avx2" or "baseline" */
    size_t weight_bytes;      /* memory that the weights take */
} GhostFacts;

/* Read a network. `precision` is "fp32", or "bf16" where ghost_has_bf16. `most` is the best instruction set to use, "" for the best that this
 * processor has. Returns NULL after writing the reason into `error`. */
GhostNetwork *ghost_open(const char *program, const char *weights, const char *precision, const char *most,
                         char *error, size_t error_size);

/* Tell whether this processor and system can compute in bfloat16. */
int ghost_has_bf16(void);

/* Tell what is known about a network. */
GhostFacts ghost_facts(const GhostNetwork *network);

/* Make a session with as many threads, the calling one among them, and memory of its own. It keeps the network
 * alive. Returns NULL after writing the reason into `error`. */
GhostSession *ghost_start(GhostNetwork *network, int threads, char *error, size_t error_size);

/* Compute scores [batch, classes] of images [batch, channels, height, width]. The numbers do not depend on the
 * number of threads. Returns 0, or -1 after writing the reason into `error`. */
int ghost_run(GhostSession *session, const float *images, int batch, int height, int width, float *scores,
              char *error, size_t error_size);

/* Release a session; NULL is allowed. */
void ghost_stop(GhostSession *session);

/* Release a network; its memory goes with the last session. NULL is allowed. */
void ghost_close(GhostNetwork *network);

#ifdef __cplusplus
}
#endif

#endif

/* Read programs. The text may be hostile: every number is bounded before it is used.
 *
 *     ghost 1
 *     input channels=3
 *     weights bytes=20731234
 *     stem value=1 from=0 channels=16 kernel=3 stride=2 activation=relu weight=60 bias=1852
 *     ghost value=2 from=1 channels=8 kernel=3 activation=relu weight=... bias=... cheap_weight=... cheap_bias=...
 *     ...
 *     output from=99
 */
#include "program.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int complain(Complaint complaint, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (complaint.size)
        vsnprintf(complaint.text, complaint.size, format, arguments);
    va_end(arguments);
    return -1;
}

char *read_file(const char *path, size_t most, size_t *size, Complaint complaint)
{
    FILE *file = fopen(path, "rb");
    char *content = NULL;
    long length = -1;
    if (file && !fseek(file, 0, SEEK_END))
        length = ftell(file);
    if (length < 0)
        complain(complaint, "%s cannot be read: %s.", path, strerror(errno));
    else if ((size_t)length > most)
        complain(complaint, "%s has %ld bytes; at most %zu are read.", path, length, most);
    else if (!(content = malloc((size_t)length + 1)))
        complain(complaint, "There is no memory for the %ld bytes of %s.", length, path);
    else if (fseek(file, 0, SEEK_SET) || fread(content, 1, (size_t)length, file) != (size_t)length) {
        complain(complaint, "%s cannot be read: %s.", path, strerror(errno));
        free(content);
        content = NULL;
    } else {
        content[length] = 0;
        *size = (size_t)length;
    }
    if (file)
        fclose(file);
    return content;
}

/* ------------------------------------------------------------------ one line */

enum { MOST_WORDS = 24 };

typedef struct {
    int number, words; /* number of the line, from 1 */
    unsigned used;     /* which words were asked for */
    char *word[MOST_WORDS];
    Complaint complaint;
} Line;

static int refuse(const Line *line, const char *what, const char *word)
{
    return complain(line->complaint, "Line %d of the program: %s '%.40s'. Export the model again.", line->number,
                    what, word);
}

static int split(Line *line, char *text)
{
    line->words = 0;
    line->used = 1;
    for (char *rest = text, *word; (word = strtok_r(rest, " \r", &rest));) {
        if (line->words == MOST_WORDS)
            return refuse(line, "there are too many words before", word);
        line->word[line->words++] = word;
    }
    return 0;
}

/* Return the text of a key, or NULL. */
static const char *find(Line *line, const char *key)
{
    const size_t length = strlen(key);
    for (int i = 1; i < line->words; i++)
        if (!strncmp(line->word[i], key, length) && line->word[i][length] == '=') {
            line->used |= 1u << i;
            return line->word[i] + length + 1;
        }
    return NULL;
}

static int read_long(Line *line, const char *key, long least, long most, long *value)
{
    const char *text = find(line, key);
    char *end;
    if (!text)
        return refuse(line, "it lacks", key);
    errno = 0;
    *value = strtol(text, &end, 10);
    if (errno || end == text || *end || *value < least || *value > most)
        return complain(line->complaint, "Line %d of the program: %s=%.40s; accepted: a whole number from %ld to %ld.",
                        line->number, key, text, least, most);
    return 0;
}

static int read_int(Line *line, const char *key, int least, int most, int *value)
{
    long number = 0;
    const int failed = read_long(line, key, least, most, &number);
    *value = (int)number;
    return failed;
}

/* Read one of `words`, which ends with NULL. */
static int read_word(Line *line, const char *key, const char *const *words, int *place)
{
    const char *text = find(line, key);
    if (!text)
        return refuse(line, "it lacks", key);
    for (*place = 0; words[*place]; ++*place)
        if (!strcmp(words[*place], text))
            return 0;
    return refuse(line, "nothing is known about", text);
}

static int refuse_unused(const Line *line)
{
    for (int i = 1; i < line->words; i++)
        if (!(line->used >> i & 1))
            return refuse(line, "nothing is known about", line->word[i]);
    return 0;
}

/* ------------------------------------------------------------------ steps */

typedef struct {
    Line line;
    size_t weight_bytes, unread_bytes;
    Program *program;
    Step *step;
} Reader;

/* Read where so many floats lie. No byte is given twice, so memory stays in proportion to the file. */
static int read_offset(Reader *reader, const char *key, size_t floats, long *offset)
{
    const size_t bytes = floats * sizeof(float);
    if (bytes > reader->unread_bytes)
        return refuse(&reader->line, "the weights file is too small for", key);
    reader->unread_bytes -= bytes;
    return read_long(&reader->line, key, 0, (long)(reader->weight_bytes - bytes), offset);
}

/* Read an array [out, in] by the keys `name`, and `name`_in or `name`_out for the last half of its channels. */
static int read_array(Reader *reader, const char *name, size_t out, size_t in, Array *array)
{
    char key[32];
    const size_t floats = out * in;
    *array = (Array){.cut = WHOLE};
    for (Cut cut = CUT_IN; cut <= CUT_OUT; cut++) {
        snprintf(key, sizeof key, "%s_%s", name, cut == CUT_IN ? "in" : "out");
        if (!find(&reader->line, key))
            continue;
        if ((cut == CUT_IN ? in : out) % 2)
            return refuse(&reader->line, "an odd number of channels cannot have", key);
        array->cut = cut;
        return read_offset(reader, name, floats / 2, &array->offset)
               || read_offset(reader, key, floats / 2, &array->rest);
    }
    return read_offset(reader, name, floats, &array->offset);
}

/* Read weight and bias of a step, `depth` weights for each output channel. */
static int read_arrays(Reader *reader, size_t depth)
{
    Step *step = reader->step;
    return read_array(reader, "weight", step->channels, depth, &step->weight)
           || read_array(reader, "bias", step->channels, 1, &step->bias);
}

static const Value *value_of(const Reader *reader, int number) { return &reader->program->value[number]; }

/* Read a reference to an earlier value, or NONE if `key` is absent and not `wanted`. */
static int read_value(Reader *reader, const char *key, int wanted, int is_map, int *number)
{
    *number = NONE;
    if (!wanted && !find(&reader->line, key))
        return 0;
    if (read_int(&reader->line, key, 0, reader->program->steps, number))
        return -1;
    if (value_of(reader, *number)->is_map != is_map)
        return refuse(&reader->line, is_map ? "a map is wanted for" : "a vector is wanted for", key);
    return 0;
}

static int read_activation(Reader *reader)
{
    static const char *const words[] = {"none", "relu", "clip", NULL};
    int place = 0;
    const int failed = read_word(&reader->line, "activation", words, &place);
    reader->step->activation = (Activation)place;
    if (!failed && place == CLIP && reader->step->kind != DENSE)
        return refuse(&reader->line, "only dense steps know the activation", "clip");
    return failed;
}

static int read_kernel(Reader *reader)
{
    if (read_int(&reader->line, "kernel", 3, 5, &reader->step->kernel))
        return -1;
    return reader->step->kernel % 2 ? 0 : refuse(&reader->line, "it has to be odd:", "kernel");
}

static int read_channels(Reader *reader)
{
    return read_int(&reader->line, "channels", 1, MOST_CHANNELS / 2, &reader->step->channels);
}

static int read_stem(Reader *reader, Value *made)
{
    Step *step = reader->step;
    if (read_channels(reader) || read_kernel(reader) || read_int(&reader->line, "stride", 2, 2, &step->stride)
        || read_activation(reader))
        return -1;
    if (step->from != 0 || step->kernel != 3)
        return refuse(&reader->line, "it has to read value 0 with kernel 3:", "stem");
    made->channels = step->channels;
    made->level = 1;
    return read_arrays(reader, (size_t)step->kernel * step->kernel * reader->program->channels);
}

static int read_depthwise(Reader *reader, Value *made)
{
    Step *step = reader->step;
    if (read_kernel(reader) || read_int(&reader->line, "stride", 1, 2, &step->stride) || read_activation(reader))
        return -1;
    *made = *value_of(reader, step->from);
    step->channels = made->channels;
    made->level += step->stride - 1;
    return read_arrays(reader, (size_t)step->kernel * step->kernel);
}

static int read_gate(Reader *reader)
{
    Step *step = reader->step;
    if (read_value(reader, "gate", 0, 0, &step->gate))
        return -1;
    if (step->gate != NONE && value_of(reader, step->gate)->channels != value_of(reader, step->from)->channels)
        return refuse(&reader->line, "it has not as many channels as the input:", "gate");
    return 0;
}

static int read_pointwise(Reader *reader, Value *made)
{
    Step *step = reader->step;
    if (read_channels(reader) || read_activation(reader) || read_gate(reader))
        return -1;
    made->channels = step->channels;
    made->level = value_of(reader, step->from)->level;
    return read_arrays(reader, value_of(reader, step->from)->channels);
}

/* Give an addend the layout of a ghost module's output. */
static int read_addend(Reader *reader, const Value *made)
{
    Step *step = reader->step;
    if (read_value(reader, "add", 0, 1, &step->add) || step->add == NONE)
        return step->add == NONE ? 0 : -1;
    Value *value = &reader->program->value[step->add];
    if (step->add == 0 || value->channels != made->channels || value->level != made->level)
        return refuse(&reader->line, "it has not the output's shape:", "add");
    if (reader->program->step[step->add - 1].kind == DEPTHWISE)
        return refuse(&reader->line, "a depthwise convolution's output cannot be a ghost module's", "add");
    value->parts = 2;
    return 0;
}

static int read_ghost(Reader *reader, Value *made)
{
    Step *step = reader->step;
    if (read_kernel(reader) || read_pointwise(reader, made))
        return -1;
    made->channels = 2 * step->channels;
    made->parts = 2;
    step->stride = 1;
    const size_t taps = (size_t)step->kernel * step->kernel;
    return read_addend(reader, made)
           || read_array(reader, "cheap_weight", step->channels, taps, &step->cheap_weight)
           || read_array(reader, "cheap_bias", step->channels, 1, &step->cheap_bias);
}

static int read_dense(Reader *reader, Value *made)
{
    static const char *const orders[] = {"oi", "io", NULL};
    Step *step = reader->step;
    if (read_channels(reader) || read_activation(reader)
        || read_word(&reader->line, "order", orders, &step->is_transposed))
        return -1;
    made->channels = step->channels;
    made->is_map = 0;
    return read_arrays(reader, value_of(reader, step->from)->channels)
           || (step->is_transposed && step->weight.cut != WHOLE
               && refuse(&reader->line, "weights of this order lie in one piece:", "io"));
}

static int read_from(Reader *reader)
{
    const StepKind kind = reader->step->kind;
    const int wants_map = kind != DENSE && kind != SOFTMAX;
    if (read_value(reader, "from", 1, wants_map, &reader->step->from))
        return -1;
    if (kind != STEM && reader->step->from == 0)
        return refuse(&reader->line, "only a stem reads the picture:", "from=0");
    return 0;
}

static int read_step(Reader *reader)
{
    static const char *const kinds[] = {"stem", "pointwise", "depthwise", "ghost", "mean", "dense", "softmax", NULL};
    Program *program = reader->program;
    Line *line = &reader->line;
    int kind = 0, number = 0;
    while (kinds[kind] && strcmp(kinds[kind], line->word[0]))
        kind++;
    if (!kinds[kind])
        return refuse(line, "nothing is known about", line->word[0]);
    if (program->steps == MOST_STEPS)
        return refuse(line, "there are too many steps before", line->word[0]);
    Step *step = reader->step = &program->step[program->steps];
    Value made = {.is_map = 1, .parts = 1};
    *step = (Step){.kind = (StepKind)kind, .gate = NONE, .add = NONE};
    if (read_int(line, "value", program->steps + 1, program->steps + 1, &number) || read_from(reader))
        return -1;
    int failed = 0;
    switch (step->kind) {
    case STEM: failed = read_stem(reader, &made); break;
    case POINTWISE: failed = read_pointwise(reader, &made); break;
    case DEPTHWISE: failed = read_depthwise(reader, &made); break;
    case GHOST: failed = read_ghost(reader, &made); break;
    case DENSE: failed = read_dense(reader, &made); break;
    case MEAN:
    case SOFTMAX:
        made = *value_of(reader, step->from);
        made.is_map = 0;
        step->channels = made.channels;
        break;
    }
    program->value[++program->steps] = made;
    return failed;
}

/* ------------------------------------------------------------------ the whole text */

/* Read the line with the given first word and one number. */
static int read_fact(Line *line, const char *word, const char *key, long least, long most, long *value)
{
    if (!line->words || strcmp(line->word[0], word))
        return refuse(line, "it does not begin with", word);
    return read_long(line, key, least, most, value) || refuse_unused(line);
}

static int read_version(const Line *line)
{
    if (line->words == 2 && !strcmp(line->word[0], "ghost") && !strcmp(line->word[1], "1"))
        return 0;
    return complain(line->complaint, "This is no program of form 1: its first line is not 'ghost 1'. Export the model "
                                     "again with this version of ppghost.");
}

static int read_line(Reader *reader, int *is_done)
{
    Line *line = &reader->line;
    Program *program = reader->program;
    long number = 0;
    if (line->number == 1)
        return read_version(line);
    if (line->number == 2) {
        const int failed = read_fact(line, "input", "channels", 1, 64, &number);
        program->channels = (int)number;
        program->value[0] = (Value){.channels = program->channels, .is_map = 1, .parts = 1};
        return failed;
    }
    if (line->number == 3) {
        const long bytes = (long)reader->weight_bytes;
        return read_fact(line, "weights", "bytes", bytes, bytes, &number);
    }
    if (*is_done)
        return refuse(line, "after the output there is", line->words ? line->word[0] : "");
    if (line->words && !strcmp(line->word[0], "output")) {
        *is_done = 1;
        if (read_fact(line, "output", "from", 1, program->steps, &number))
            return -1;
        if (number != program->steps || program->value[number].is_map)
            return refuse(line, "it has to name the last value, a vector:", "output");
        program->classes = program->value[number].channels;
        return 0;
    }
    if (!line->words)
        return refuse(line, "it is", "empty");
    return read_step(reader) || refuse_unused(line);
}

int parse_program(char *text, size_t weight_bytes, Program *program, Complaint complaint)
{
    Reader reader = {.line = {.complaint = complaint}, .weight_bytes = weight_bytes, .unread_bytes = weight_bytes,
                     .program = program};
    int is_done = 0;
    memset(program, 0, sizeof *program);
    for (char *line = text; *line;) {
        char *end = line + strcspn(line, "\n");
        char *next = *end ? end + 1 : end;
        *end = 0;
        reader.line.number++;
        if (split(&reader.line, line) || read_line(&reader, &is_done))
            return -1;
        line = next;
    }
    if (!is_done)
        return complain(complaint, "The program ends without an output. Export the model again.");
    return 0;
}

package org.ppghost.core;

import java.util.List;
import java.util.Locale;

/** The answer to one picture: what the network saw, the most probable classes as bars, times and memory. */
public final class ResultSheet extends Sheet {

    private static final float WIDE = 560;
    private static final float NARROW_PICTURE = 136;
    private static final float WIDE_PICTURE = 224;
    private static final float BAR = 8;
    private static final float LEAST = 2;

    private final Words words;
    private final Picture seen;
    private final List<Scores.Answer> answers;
    private final Times times;

    /** How long each step took, in nanoseconds, and how much memory the engine holds. */
    public static final class Times {
        private final long decode;
        private final long preprocess;
        private final long postprocess;
        private final long[] runs;
        private final long memoryKb;

        /**
         * Makes it.
         *
         * @param runs of the network, at least one
         */
        public Times(long decode, long preprocess, long[] runs, long postprocess, long memoryKb) {
            this.decode = decode;
            this.preprocess = preprocess;
            this.runs = runs;
            this.postprocess = postprocess;
            this.memoryKb = memoryKb;
        }
    }

    /** Makes the sheet of a classified picture. */
    public ResultSheet(Words words, Picture seen, List<Scores.Answer> answers, Times times) {
        this.words = words;
        this.seen = seen;
        this.answers = answers;
        this.times = times;
    }

    @Override
    public String describe() {
        StringBuilder text = new StringBuilder();
        for (Scores.Answer answer : answers) {
            text.append(answer.label).append(' ').append(percent(answer.score)).append(". ");
        }
        Stats stats = new Stats(times.runs);
        text.append(words.get("time_inference", times.runs.length));
        return text.append(' ').append(ms(stats.median)).toString();
    }

    @Override
    float flow(float width) {
        return width >= WIDE ? wide(width) : narrow(width);
    }

    private float narrow(float width) {
        float side = Math.min(NARROW_PICTURE, width / 2);
        float x = side + Look.GAP;
        picture(seen, 0, 0, side);
        float y = best(x, 0, width - x);
        y = Math.max(side, y + Look.GAP / 2);
        y = caption(0, y + Look.GAP / 4, width);
        y = bars(0, y + Look.GAP, width);
        return table(0, y + Look.GAP, width);
    }

    private float wide(float width) {
        float x = WIDE_PICTURE + 1.5f * Look.GAP;
        picture(seen, 0, 0, WIDE_PICTURE);
        float left = caption(0, WIDE_PICTURE + Look.GAP / 4, WIDE_PICTURE);
        float right = bars(x, 0, width - x);
        return Math.max(left, table(x, right + Look.GAP, width - x));
    }

    /** Draws the first answer as a headline. */
    private float best(float x, float y, float width) {
        Scores.Answer first = answers.get(0);
        float below = paragraph(first.label, x, y, width, look().head, true, look().strong, 3);
        return line(percent(first.score), x, below, width, look().head, false, look().accent);
    }

    private float caption(float x, float y, float width) {
        String text = words.get("seen", seen.width, seen.height);
        return paragraph(text, x, y, width, look().small, false, look().quiet, 2);
    }

    private float bars(float x, float y, float width) {
        float below = y;
        for (Scores.Answer answer : answers) {
            String score = percent(answer.score);
            float room = width - textWidth(score, look().body, true) - Look.GAP / 2;
            lineRight(score, x + width, below, look().body, true, look().strong);
            below = paragraph(answer.label, x, below, room, look().body, false, look().strong, 2) + Look.GAP / 8;
            fill(x, below, x + width, below + BAR, Look.RADIUS, look().track);
            float length = Math.max(LEAST, width * answer.score);
            fill(x, below, x + length, below + BAR, Math.min(Look.RADIUS, length / 2), look().accent);
            below += BAR + 0.75f * Look.GAP;
        }
        return below - 0.75f * Look.GAP;
    }

    private float table(float x, float y, float width) {
        Stats stats = new Stats(times.runs);
        float below = row(words.get("time_decode"), ms(times.decode), false, x, y, width);
        below = row(words.get("time_preprocess"), ms(times.preprocess), false, x, below, width);
        below = row(words.get("time_inference", times.runs.length), ms(stats.median), true, x, below, width);
        below = row(words.get("time_postprocess"), ms(times.postprocess), false, x, below, width);
        return row(words.get("memory"), megabytes(times.memoryKb), false, x, below, width);
    }

    private float row(String name, String value, boolean isBold, float x, float y, float width) {
        fill(x, y, x + width, y + 1, 0, look().track);
        float top = y + Look.GAP / 4;
        float room = width - textWidth(value, look().body, isBold) - Look.GAP / 2;
        lineRight(value, x + width, top, look().body, isBold, look().strong);
        float below = paragraph(name, x, top, room, look().body, isBold, isBold ? look().strong : look().quiet, 2);
        return below + Look.GAP / 4;
    }

    /** Returns "97.3 %"; what is not all is never 100, what is not nothing never 0. */
    static String percent(float score) {
        if (score > 0 && score < 0.0005f) {
            return "<\u00A00.1\u00A0%";
        }
        double shown = score < 1 ? Math.min(99.9, Math.round(score * 1000) / 10.0) : 100;
        return String.format(Locale.ROOT, "%.1f\u00A0%%", shown);
    }

    static String ms(double nanoseconds) {
        return String.format(Locale.ROOT, "%.2f\u00A0ms", nanoseconds / 1e6);
    }

    private static String megabytes(long kilobytes) {
        return String.format(Locale.ROOT, "%.1f\u00A0MB", kilobytes / 1024.0);
    }
}

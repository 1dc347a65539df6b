package org.ppghost.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** The published latencies with ours below them, never mixed: a block for each model, a column per thread count. */
public final class BenchSheet extends Sheet {

    private static final String NOTHING = "\u2013";

    private final Words words;
    private final Map<String, Ours> ours;

    /** What this phone has to show for one converted model. */
    private static final class Ours {
        final String name;
        final String form;
        final long sizeBytes;
        final List<BenchRun.Result> results = new ArrayList<>();

        Ours(String name, String form, long sizeBytes) {
            this.name = name;
            this.form = form;
            this.sizeBytes = sizeBytes;
        }
    }

    /** Makes the sheet of the published figures alone. */
    public BenchSheet(Words words) {
        this.words = words;
        this.ours = new LinkedHashMap<>();
    }

    /** Adds a model of this phone. */
    public void addModel(String id, ModelSpec spec, ModelSpec.Variant variant) {
        ours.put(id, new Ours(spec.name, variant.form(), variant.sizeBytes));
    }

    /** Adds a measured cell of a model that was added. */
    public void addResult(BenchRun.Result result) {
        ours.get(result.cell.model).results.add(result);
    }

    @Override
    public String describe() {
        StringBuilder text = new StringBuilder(words.get("bench_published_note")).append(' ');
        for (Map.Entry<String, Ours> entry : ours.entrySet()) {
            for (int threads : Published.THREADS) {
                String value = value(entry.getValue(), threads);
                if (!value.equals(NOTHING)) {
                    text.append(entry.getKey()).append(", ").append(words.get("bench_threads", threads));
                    text.append(": ").append(value).append(" ms. ");
                }
            }
        }
        return text.toString();
    }

    @Override
    float flow(float width) {
        float y = 0;
        List<Ours> left = new ArrayList<>(ours.values());
        for (Published row : Published.rows()) {
            y = block(row.model, row, matching(left, row.model), y, width) + 1.5f * Look.GAP;
        }
        while (!left.isEmpty()) {
            String name = left.get(0).name;
            y = block(name, null, matching(left, name), y, width) + 1.5f * Look.GAP;
        }
        y = paragraph(words.get("bench_published_note"), 0, y, width, look().small, false, look().quiet, 9);
        String doubtful = words.get("bench_doubtful_note");
        return paragraph(doubtful, 0, y + Look.GAP / 2, width, look().small, false, look().quiet, 9);
    }

    private static List<Ours> matching(List<Ours> left, String name) {
        List<Ours> found = new ArrayList<>();
        for (Ours each : left) {
            if (each.name.equals(name)) {
                found.add(each);
            }
        }
        left.removeAll(found);
        return found;
    }

    private float block(String name, Published published, List<Ours> mine, float y, float width) {
        float below = line(name, 0, y, width, look().body, true, look().strong);
        below = columns(words.get("bench_ms"), null, below, width, false, look().quiet);
        if (published != null) {
            String label = words.get("bench_published", published.megabytes);
            String[] values = new String[Published.THREADS.length];
            for (int i = 0; i < values.length; i++) {
                values[i] = shown(published.milliseconds(i));
            }
            below = columns(label, values, below, width, false, look().quiet);
        }
        for (Ours each : mine) {
            String megabytes = String.format(Locale.ROOT, "%.1f", each.sizeBytes / 1e6);
            String[] values = new String[Published.THREADS.length];
            for (int i = 0; i < values.length; i++) {
                values[i] = value(each, Published.THREADS[i]);
            }
            below = columns(words.get("bench_ours", each.form, megabytes), values, below, width, true, look().accent);
        }
        return below;
    }

    /**
     * Draws a row: its label at the left and three values right-aligned in columns, or the label above the values
     * where large letters leave no room beside each other; null values are the column heads.
     */
    private float columns(String label, String[] values, float y, float width, boolean isBold, int colour) {
        float size = values == null ? look().small : look().body;
        float column = Math.max(width * 0.2f, 3.6f * look().body);
        float room = width - Published.THREADS.length * column - Look.GAP / 4;
        boolean isAbove = room < 0.3f * width;
        float top = y + Look.GAP / 4;
        fill(0, y, width, y + 1, 0, look().track);
        // Label and values stand on one baseline, whatever their sizes.
        float labelTop = isAbove ? top : top + 1.1f * (size - look().small);
        float below = paragraph(label, 0, labelTop, isAbove ? width : room, look().small, false, colour, 3);
        float rowTop = isAbove ? below : top;
        column = isAbove ? width / Published.THREADS.length : column;
        for (int i = 0; i < Published.THREADS.length; i++) {
            String text = values == null ? words.get("bench_threads_short", Published.THREADS[i]) : values[i];
            float right = width - (Published.THREADS.length - 1 - i) * column;
            float share = (column - Look.GAP / 2) / textWidth(text, size, isBold);
            lineRight(text, right, rowTop, size * Math.min(1, share), isBold, colour);
        }
        return Math.max(below, rowTop + look().body * 1.4f) + Look.GAP / 4;
    }

    /** Returns the median of all runs of all rounds in milliseconds, with a star when a cell is doubtful. */
    private static String value(Ours mine, int threads) {
        List<Long> times = new ArrayList<>();
        boolean isDoubtful = false;
        for (BenchRun.Result result : mine.results) {
            if (result.cell.threads == threads) {
                isDoubtful |= result.isDoubtful();
                for (long time : result.times) {
                    times.add(time);
                }
            }
        }
        if (times.isEmpty()) {
            return NOTHING;
        }
        long[] raw = new long[times.size()];
        for (int i = 0; i < raw.length; i++) {
            raw[i] = times.get(i);
        }
        return shown(new Stats(raw).median / 1e6) + (isDoubtful ? "*" : "");
    }

    private static String shown(double milliseconds) {
        return String.format(Locale.ROOT, "%.2f", milliseconds);
    }
}

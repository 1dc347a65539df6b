package org.ppghost.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Runs a plan cell by cell and keeps what came out; a cell that fails is skipped with its reason, the rest runs. */
public final class BenchRun {

    /** From this thermal status on (Android's "severe") the rest of a plan is skipped. */
    public static final int TOO_HOT = 3;
    /** From this thermal status on (Android's "moderate") a cell is marked. */
    public static final int WARM = 2;

    private final BenchPlan plan;
    private final Rig rig;
    private final List<Result> results = new ArrayList<>();
    private final List<Object> skipped = new ArrayList<>();

    /** What is measured with: the phone and its engine, or a test's stand-in. */
    public interface Rig {
        /** Tells that a cell begins: how many are done, of how many. */
        void begins(BenchPlan.Cell cell, int done, int count);

        /** Returns the state of the phone now. */
        State state();

        /**
         * Measures a cell in an engine that has seen no other one.
         *
         * @return the times, and whether golden was reproduced
         * @throws Problem the model cannot be run, or its output is wrong
         */
        Measured measure(BenchPlan.Cell cell, BenchPlan plan) throws Problem;

        /** Waits; returns early when the user stops. */
        void pause(double seconds);

        /** Returns whether the user wants to stop. */
        boolean isStopped();
    }

    /** State of the phone at one moment; null is "the platform does not tell". */
    public static final class State {
        /** Clock of each core in kHz; entries may be null. */
        public final List<Long> frequencies;
        /** Android's thermal status, 0 to 6. */
        public final Integer thermal;
        /** Whether the phone is being charged. */
        public final Boolean isCharging;
        /** Whether it saves battery. */
        public final Boolean isSaving;

        /** Makes a state. */
        public State(List<Long> frequencies, Integer thermal, Boolean isCharging, Boolean isSaving) {
            this.frequencies = frequencies;
            this.thermal = thermal;
            this.isCharging = isCharging;
            this.isSaving = isSaving;
        }
    }

    /** What one cell gave. */
    public static final class Measured {
        /** Nanoseconds of each timed run, in order. */
        public final long[] times;
        /** Whether golden was reproduced; null when the model has none. */
        public final Boolean isGolden;

        /** Makes it of times in nanoseconds. */
        public Measured(long[] times, Boolean isGolden) {
            this.times = times;
            this.isGolden = isGolden;
        }
    }

    /** A measured cell. */
    public static final class Result {
        /** Which it is. */
        public final BenchPlan.Cell cell;
        /** Nanoseconds of each run. */
        public final long[] times;

        private final Boolean isGolden;
        private final State before;
        private final State after;

        private Result(BenchPlan.Cell cell, Measured measured, State before, State after) {
            this.cell = cell;
            this.times = measured.times;
            this.isGolden = measured.isGolden;
            this.before = before;
            this.after = after;
        }

        /** Returns whether the phone was warm or saving battery, so that the times mean little. */
        public boolean isDoubtful() {
            return isWarm(before) || isWarm(after) || Boolean.TRUE.equals(before.isSaving);
        }

        private static boolean isWarm(State state) {
            return state.thermal != null && state.thermal >= WARM;
        }

        private Map<String, Object> toJson() {
            Stats stats = new Stats(times);
            List<Object> raw = new ArrayList<>();
            for (long time : times) {
                raw.add(time);
            }
            Map<String, Object> map = new LinkedHashMap<>();
            map.put("model", cell.model);
            map.put("threads", cell.threads);
            map.put("round", cell.round);
            map.put("times_ns", raw);
            map.put("average_ns", stats.average);
            map.put("median_ns", stats.median);
            map.put("p90_ns", stats.p90);
            map.put("min_ns", stats.min);
            map.put("max_ns", stats.max);
            map.put("frequencies_before_khz", before.frequencies);
            map.put("frequencies_after_khz", after.frequencies);
            map.put("thermal_before", before.thermal);
            map.put("thermal_after", after.thermal);
            map.put("charging", before.isCharging);
            map.put("battery_saver", before.isSaving);
            map.put("golden_passed", isGolden);
            return map;
        }
    }

    /** Prepares a run. */
    public BenchRun(BenchPlan plan, Rig rig) {
        this.plan = plan;
        this.rig = rig;
    }

    /** Runs all cells; returns when they are done, skipped or stopped. */
    public void run() {
        List<BenchPlan.Cell> cells = plan.cells();
        for (int i = 0; i < cells.size(); i++) {
            BenchPlan.Cell cell = cells.get(i);
            State before = rig.state();
            String reason = reasonToStop(before);
            if (reason != null) {
                skip(cell, reason);
                continue;
            }
            rig.begins(cell, i, cells.size());
            runCell(cell, before);
            if (i + 1 < cells.size()) {
                rig.pause(plan.pauseSeconds);
            }
        }
    }

    /** Returns what was measured, in the order of measuring. */
    public List<Result> results() {
        return Collections.unmodifiableList(results);
    }

    /** Returns how many cells were skipped. */
    public int skippedCount() {
        return skipped.size();
    }

    /**
     * Returns the report.
     *
     * @param created UTC in ISO 8601
     * @param program name and version of the app
     * @param device the facts of the phone
     * @param engineVersion as the library tells it
     * @param models the facts of each model
     */
    public Map<String, Object> toJson(
            String created,
            Map<String, Object> program,
            Map<String, Object> device,
            String engineVersion,
            List<Map<String, Object>> models) {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("format", 1);
        map.put("kind", "ppghost-phone-benchmark");
        map.put("created", created);
        map.put("program", program);
        map.put("plan", plan.toJson());
        map.put("device", device);
        Map<String, Object> engine = new LinkedHashMap<>();
        engine.put("name", "Paddle Lite");
        engine.put("version", engineVersion);
        map.put("engine", engine);
        map.put("models", models);
        List<Object> cells = new ArrayList<>();
        for (Result result : results) {
            cells.add(result.toJson());
        }
        map.put("cells", cells);
        map.put("skipped", skipped);
        return map;
    }

    /** Returns the facts of a model for the report. */
    public static Map<String, Object> modelJson(String id, ModelSpec spec, ModelSpec.Variant variant) {
        List<Object> shape = new ArrayList<>();
        for (long side : spec.inputShape) {
            shape.add(side);
        }
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("id", id);
        map.put("name", spec.name);
        map.put("version", spec.version);
        map.put("graph", spec.graph);
        map.put("arch", variant.arch);
        map.put("precision", variant.precision);
        map.put("input_shape", shape);
        map.put("class_num", spec.classCount);
        map.put("file", variant.file);
        map.put("size_bytes", variant.sizeBytes);
        map.put("sha256", variant.sha256);
        map.put("meta_version", NbHeader.LAYOUT);
        map.put("opt_version", variant.optVersion);
        return map;
    }

    private void runCell(BenchPlan.Cell cell, State before) {
        try {
            Measured measured = rig.measure(cell, plan);
            results.add(new Result(cell, measured, before, rig.state()));
        } catch (Problem problem) {
            skip(cell, problem.getMessage());
        }
    }

    private String reasonToStop(State state) {
        if (rig.isStopped()) {
            return "stopped by the user";
        }
        boolean isTooHot = state.thermal != null && state.thermal >= TOO_HOT;
        return isTooHot ? "thermal status " + state.thermal : null;
    }

    private void skip(BenchPlan.Cell cell, String reason) {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("model", cell.model);
        map.put("threads", cell.threads);
        map.put("round", cell.round);
        map.put("reason", reason);
        skipped.add(map);
    }
}

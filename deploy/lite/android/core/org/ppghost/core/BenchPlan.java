package org.ppghost.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/** What a benchmark measures, and in which order. Immutable. */
public final class BenchPlan {

    /** What was published was measured so: high power, 10 runs to warm up, 30 that count. */
    public static final String POWER_MODE = "LITE_POWER_HIGH";

    /** Ids of the models, each once. */
    public final List<String> models;
    /** Numbers of threads, each once. */
    public final List<Integer> threads;
    /** Runs before the timed ones of each cell. */
    public final int warmUp;
    /** Timed runs of each cell. */
    public final int repeats;
    /** How often each cell is measured. */
    public final int rounds;
    /** Decides the order. */
    public final long seed;
    /** Between two cells, for the phone to cool. */
    public final double pauseSeconds;

    /** One measurement: a model with a number of threads in a round. */
    public static final class Cell {
        /** Id of the model. */
        public final String model;
        /** Number of threads. */
        public final int threads;
        /** From 1. */
        public final int round;

        Cell(String model, int threads, int round) {
            this.model = model;
            this.threads = threads;
            this.round = round;
        }
    }

    /** Makes a plan; the lists are copied. */
    public BenchPlan(
            List<String> models,
            List<Integer> threads,
            int warmUp,
            int repeats,
            int rounds,
            long seed,
            double pauseSeconds) {
        if (warmUp < 0 || repeats < 1 || rounds < 1 || pauseSeconds < 0) {
            throw new IllegalArgumentException("warm-up >= 0, repeats >= 1, rounds >= 1, pause >= 0");
        }
        this.models = Collections.unmodifiableList(new ArrayList<>(models));
        this.threads = Collections.unmodifiableList(new ArrayList<>(threads));
        this.warmUp = warmUp;
        this.repeats = repeats;
        this.rounds = rounds;
        this.seed = seed;
        this.pauseSeconds = pauseSeconds;
    }

    /** Returns the plan of the published table for some models: 1, 2 and 4 threads, 10 + 30 runs, one round. */
    public static BenchPlan published(List<String> models, int rounds, long seed) {
        List<Integer> threads = new ArrayList<>();
        Collections.addAll(threads, 1, 2, 4);
        return new BenchPlan(models, threads, 10, 30, rounds, seed, 5.0);
    }

    /** Returns every cell once, round after round, each round in an order of its own. */
    public List<Cell> cells() {
        List<Cell> cells = new ArrayList<>();
        Random random = new Random(seed);
        for (int round = 1; round <= rounds; round++) {
            List<Cell> inRound = new ArrayList<>();
            for (String model : models) {
                for (int count : threads) {
                    inRound.add(new Cell(model, count, round));
                }
            }
            Collections.shuffle(inRound, random);
            cells.addAll(inRound);
        }
        return cells;
    }

    Map<String, Object> toJson() {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("models", models);
        map.put("threads", threads);
        map.put("power_mode", POWER_MODE);
        map.put("batch", 1);
        map.put("warmup", warmUp);
        map.put("repeats", repeats);
        map.put("rounds", rounds);
        map.put("seed", seed);
        map.put("pause_seconds", pauseSeconds);
        return map;
    }
}

package org.ppghost.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** From the network's output to the most probable classes. */
public final class Scores {

    private Scores() {}

    /** One class of one picture. */
    public static final class Answer {
        /** Number of the class, from 0. */
        public final int classId;
        /** Its name. */
        public final String label;
        /** Its probability, 0 to 1. */
        public final float score;

        /** Makes an answer. */
        public Answer(int classId, String label, float score) {
            this.classId = classId;
            this.label = label;
            this.score = score;
        }
    }

    /**
     * Returns the probabilities of logits.
     *
     * @param logits float32 [classes]
     */
    public static float[] softmax(float[] logits) {
        float highest = Float.NEGATIVE_INFINITY;
        for (float logit : logits) {
            highest = Math.max(highest, logit);
        }
        double sum = 0;
        double[] powers = new double[logits.length];
        for (int i = 0; i < logits.length; i++) {
            powers[i] = Math.exp(logits[i] - highest);
            sum += powers[i];
        }
        float[] probabilities = new float[logits.length];
        for (int i = 0; i < logits.length; i++) {
            probabilities[i] = (float) (powers[i] / sum);
        }
        return probabilities;
    }

    /**
     * Returns the most probable classes, most probable first; of equal ones the higher number, as in Python.
     *
     * @param output what the network gave, one value for each class
     * @param hasSoftmax whether these are probabilities already
     * @param k how many; cut to the number of classes
     * @throws Problem OUTPUT_LENGTH or OUTPUT_NOT_FINITE
     */
    public static List<Answer> top(float[] output, boolean hasSoftmax, int k, Labels labels) throws Problem {
        if (output.length != labels.size()) {
            throw new Problem(Problem.Code.OUTPUT_LENGTH, output.length, labels.size());
        }
        for (float value : output) {
            if (Float.isNaN(value) || Float.isInfinite(value)) {
                throw new Problem(Problem.Code.OUTPUT_NOT_FINITE);
            }
        }
        float[] scores = hasSoftmax ? output : softmax(output);
        List<Answer> answers = new ArrayList<>();
        for (int id : best(scores, Math.min(k, scores.length))) {
            answers.add(new Answer(id, labels.nameOf(id), scores[id]));
        }
        return Collections.unmodifiableList(answers);
    }

    /** Returns the ids of the k highest scores; k is small, so each score is put into its place among the best. */
    private static int[] best(float[] scores, int k) {
        int[] best = new int[k];
        int count = 0;
        for (int id = 0; id < scores.length; id++) {
            int place = count;
            while (place > 0 && scores[id] >= scores[best[place - 1]]) {
                place--;
            }
            if (place < k) {
                count = Math.min(count + 1, k);
                System.arraycopy(best, place, best, place + 1, count - place - 1);
                best[place] = id;
            }
        }
        return best;
    }

    /**
     * Checks an output against the one that the network gave when it was exported.
     *
     * @param rtol allowed difference as a share of golden's largest value
     * @throws Problem GOLDEN_FAILED with both, or OUTPUT_LENGTH
     */
    public static void checkGolden(float[] output, float[] golden, double rtol) throws Problem {
        if (output.length != golden.length) {
            throw new Problem(Problem.Code.OUTPUT_LENGTH, output.length, golden.length);
        }
        double largest = 0;
        double difference = 0;
        for (int i = 0; i < golden.length; i++) {
            largest = Math.max(largest, Math.abs(golden[i]));
            difference = Math.max(difference, Math.abs((double) output[i] - golden[i]));
        }
        // Written so that a NaN fails, too.
        if (!(difference <= rtol * largest) || best(output, 1)[0] != best(golden, 1)[0]) {
            throw new Problem(Problem.Code.GOLDEN_FAILED, shown(difference), shown(rtol * largest));
        }
    }

    private static String shown(double value) {
        return String.format(java.util.Locale.ROOT, "%.2g", value);
    }
}

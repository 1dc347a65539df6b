package org.ppghost.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.fail;

import java.util.List;
import java.util.Map;
import org.junit.Test;

public final class ScoresTest {

    @Test
    public void theBestClassesAreThoseOfPython() throws Exception {
        for (Object each : Golden.list("scores")) {
            Map<?, ?> golden = (Map<?, ?>) each;
            float[] output = Bytes.floats(Golden.bytes((String) golden.get("output")));
            boolean hasSoftmax = (Boolean) golden.get("softmax");
            List<?> ids = (List<?>) golden.get("ids");
            List<?> scores = (List<?>) golden.get("scores");
            Labels labels = Labels.numbers(output.length);
            List<Scores.Answer> answers = Scores.top(output, hasSoftmax, Golden.whole(golden, "k"), labels);
            assertEquals(ids.size(), answers.size());
            for (int i = 0; i < ids.size(); i++) {
                assertEquals(golden.get("output") + " place " + i, ids.get(i), (long) answers.get(i).classId);
                assertEquals(Golden.number(scores.get(i)), answers.get(i).score, 1e-6);
            }
        }
    }

    @Test
    public void anOutputOfAnotherLengthIsTold() {
        expect(Problem.Code.OUTPUT_LENGTH, new float[] {1, 2, 3}, 4);
    }

    @Test
    public void anOutputThatIsNoNumberIsTold() {
        expect(Problem.Code.OUTPUT_NOT_FINITE, new float[] {1, Float.NaN}, 2);
        expect(Problem.Code.OUTPUT_NOT_FINITE, new float[] {1, Float.POSITIVE_INFINITY}, 2);
    }

    private static void expect(Problem.Code code, float[] output, int classes) {
        try {
            Scores.top(output, false, 5, Labels.numbers(classes));
            fail("no " + code);
        } catch (Problem problem) {
            assertEquals(code, problem.code());
        }
    }

    @Test
    public void goldenPassesWithinItsTolerance() throws Exception {
        Scores.checkGolden(new float[] {0.1f, 0.90005f}, new float[] {0.1f, 0.9f}, 1e-4);
    }

    @Test
    public void goldenFailsBeyondItAndOnAnotherBestClassAndOnNaN() {
        assertNotNull(goldenProblem(0.1f, 0.9002f));
        assertNotNull(goldenProblem(0.1f, Float.NaN));
        try {
            Scores.checkGolden(new float[] {0.5001f, 0.5f}, new float[] {0.5f, 0.5001f}, 0.1);
            fail("another best class");
        } catch (Problem problem) {
            assertEquals(Problem.Code.GOLDEN_FAILED, problem.code());
        }
    }

    private static Problem goldenProblem(float... output) {
        try {
            Scores.checkGolden(output, new float[] {0.1f, 0.9f}, 1e-4);
            return null;
        } catch (Problem problem) {
            assertEquals(Problem.Code.GOLDEN_FAILED, problem.code());
            return problem;
        }
    }
}

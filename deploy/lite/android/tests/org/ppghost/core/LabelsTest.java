package org.ppghost.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.fail;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.junit.Test;

public final class LabelsTest {

    @Test
    public void namesAreThoseOfPython() throws Exception {
        for (Object each : Golden.list("labels")) {
            Map<?, ?> golden = (Map<?, ?>) each;
            String file = (String) golden.get("file");
            List<?> names = (List<?>) golden.get("names");
            Labels labels = Labels.read(Golden.bytes(file), names.size());
            for (int id = 0; id < names.size(); id++) {
                assertEquals(file + " class " + id, names.get(id), labels.nameOf(id));
            }
        }
    }

    @Test
    public void whatPythonRefusesIsRefusedWithItsReason() throws Exception {
        for (Object each : Golden.list("bad_labels")) {
            Map<?, ?> golden = (Map<?, ?>) each;
            String file = (String) golden.get("file");
            try {
                Labels.read(Golden.bytes(file), Golden.whole(golden, "count"));
                fail(file);
            } catch (Problem problem) {
                assertEquals(file, golden.get("code"), problem.code().name());
            }
        }
    }

    @Test
    public void theCountOfBothSidesIsTold() {
        try {
            Labels.read("0 a\n1 b\n2 c\n".getBytes(StandardCharsets.UTF_8), 2);
            fail("three names for two classes");
        } catch (Problem problem) {
            assertEquals("LABEL_COUNT: 3, 2", problem.getMessage());
        }
    }

    @Test
    public void anIdOfManyDigitsIsNoClass() {
        try {
            Labels.read("99999999999999999999 a\n".getBytes(StandardCharsets.UTF_8), 1);
            fail("an id of 20 digits");
        } catch (Problem problem) {
            assertEquals(Problem.Code.BAD_LABELS, problem.code());
        }
    }
}

package org.ppghost.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotEquals;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.Test;

public final class BenchTest {

    /** A phone whose times are known, which gets warmer with each cell. */
    static final class FakeRig implements BenchRun.Rig {
        final Integer warmest;
        String broken;
        int left = Integer.MAX_VALUE;
        int cells;

        FakeRig(Integer warmest) {
            this.warmest = warmest;
        }

        @Override
        public void begins(BenchPlan.Cell cell, int done, int count) {
            cells++;
        }

        @Override
        public BenchRun.State state() {
            Integer thermal = warmest == null ? null : Integer.valueOf(Math.min(cells, warmest));
            return new BenchRun.State(Arrays.asList(2841600L, null), thermal, false, false);
        }

        @Override
        public BenchRun.Measured measure(BenchPlan.Cell cell, BenchPlan plan) throws Problem {
            if (cell.model.equals(broken)) {
                throw new Problem(Problem.Code.ENGINE_DIED);
            }
            long[] times = new long[plan.repeats];
            for (int i = 0; i < times.length; i++) {
                times[i] = 12000000 / cell.threads + 1000L * (i * 7 % 10);
            }
            return new BenchRun.Measured(times, true);
        }

        @Override
        public void pause(double seconds) {
            left--;
        }

        @Override
        public boolean isStopped() {
            return left <= 0;
        }
    }

    @Test
    public void statisticsAreThoseOfPython() throws Exception {
        for (Object each : Golden.list("stats")) {
            Map<?, ?> golden = (Map<?, ?>) each;
            List<?> list = (List<?>) golden.get("times");
            long[] times = new long[list.size()];
            for (int i = 0; i < times.length; i++) {
                times[i] = (Long) list.get(i);
            }
            Stats stats = new Stats(times);
            assertEquals(Golden.number(golden.get("median")), stats.median, 0);
            assertEquals(Golden.number(golden.get("average")), stats.average, 1e-3);
            assertEquals(golden.get("p90"), stats.p90);
            assertEquals(golden.get("min"), stats.min);
            assertEquals(golden.get("max"), stats.max);
        }
    }

    @Test
    public void everyCellComesOnceARoundInAnOrderOfItsSeed() {
        BenchPlan plan = BenchPlan.published(Arrays.asList("a", "b", "c"), 2, 5);
        List<BenchPlan.Cell> cells = plan.cells();
        assertEquals(18, cells.size());
        Set<String> seen = new HashSet<>();
        for (BenchPlan.Cell cell : cells) {
            seen.add(cell.model + cell.threads + cell.round);
        }
        assertEquals(18, seen.size());
        assertEquals(order(cells), order(plan.cells()));
        assertNotEquals(order(cells), order(BenchPlan.published(plan.models, 2, 6).cells()));
    }

    private static String order(List<BenchPlan.Cell> cells) {
        StringBuilder text = new StringBuilder();
        for (BenchPlan.Cell cell : cells) {
            text.append(cell.model).append(cell.threads).append(cell.round).append(' ');
        }
        return text.toString();
    }

    @Test
    public void aModelThatFailsIsSkippedAndTheOthersAreMeasured() {
        FakeRig rig = new FakeRig(0);
        rig.broken = "b";
        BenchRun run = new BenchRun(BenchPlan.published(Arrays.asList("a", "b"), 1, 5), rig);
        run.run();
        assertEquals(3, run.results().size());
        assertEquals(3, run.skippedCount());
    }

    @Test
    public void aHotPhoneAndAUserWhoStopsSkipTheRest() {
        BenchRun hot = new BenchRun(BenchPlan.published(Arrays.asList("a", "b"), 1, 5), new FakeRig(9));
        hot.run();
        assertEquals(3, hot.results().size());
        assertEquals(3, hot.skippedCount());
        assertFalse(hot.results().get(0).isDoubtful());
        assertTrue(hot.results().get(1).isDoubtful());
        FakeRig stopped = new FakeRig(null);
        stopped.left = 2;
        BenchRun run = new BenchRun(BenchPlan.published(Arrays.asList("a", "b"), 1, 5), stopped);
        run.run();
        assertEquals(2, run.results().size());
        assertEquals(4, run.skippedCount());
    }

    @Test
    public void theReportIsWrittenForPythonToCheck() throws Exception {
        ModelFolder model = ModelFolder.open(new File(Golden.FOLDER, "model"));
        String id = "GhostNet_x0_5/armv8.fp32";
        BenchRun run = new BenchRun(BenchPlan.published(Collections.singletonList(id), 2, 7), new FakeRig(2));
        run.run();
        Map<String, Object> program = new LinkedHashMap<>();
        program.put("name", "ppghost-android");
        program.put("version", "0.1.0");
        List<Map<String, Object>> models = new ArrayList<>();
        models.add(BenchRun.modelJson(id, model.spec, model.spec.variants.get(0)));
        Map<String, Object> device = new LinkedHashMap<>();
        for (Object each : Golden.list("device")) {
            List<?> entry = (List<?>) each;
            device.put((String) entry.get(0), entry.get(1));
        }
        Map<String, Object> report = run.toJson("2026-11-22T04:50:00Z", program, device, "v2.13-rc", models);
        String text = Json.write(report);
        Files.write(new File(Golden.FOLDER, "report.json").toPath(), text.getBytes(StandardCharsets.UTF_8));
        Map<?, ?> cell = (Map<?, ?>) ((List<?>) ((Map<?, ?>) Json.read(text)).get("cells")).get(0);
        assertEquals(30, ((List<?>) cell.get("times_ns")).size());
    }
}

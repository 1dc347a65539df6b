package org.ppghost.core;

import org.junit.internal.TextListener;
import org.junit.runner.JUnitCore;
import org.junit.runner.Result;

/** Runs every test, prints what JUnit prints, and exits with 1 when one failed. */
final class AllTests {

    private AllTests() {}

    public static void main(String[] arguments) {
        JUnitCore core = new JUnitCore();
        core.addListener(new TextListener(System.out));
        Result result =
                core.run(
                        BenchTest.class,
                        ElfFileTest.class,
                        JsonTest.class,
                        LabelsTest.class,
                        ModelFolderTest.class,
                        ModelImportTest.class,
                        NbHeaderTest.class,
                        OrientationTest.class,
                        PreprocessTest.class,
                        ScoresTest.class,
                        SheetTest.class,
                        WordsTest.class);
        System.exit(result.wasSuccessful() ? 0 : 1);
    }
}

package org.ppghost.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.SequenceInputStream;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public final class ModelImportTest {

    @Rule public final TemporaryFolder temporary = new TemporaryFolder();

    private File models() throws IOException {
        return temporary.newFolder("files", "models");
    }

    private static InputStream open(String name) throws IOException {
        return new FileInputStream(new File(Golden.FOLDER, name));
    }

    private static ModelImport.Source source(final File folder) {
        return new ModelImport.Source() {
            @Override
            public InputStream open(String name) throws IOException {
                File file = new File(folder, name);
                return file.isFile() ? new FileInputStream(file) : null;
            }
        };
    }

    @Test
    public void goodArchivesBecomeModels() throws Exception {
        File models = models();
        for (Object name : Golden.list("good_zips")) {
            ModelFolder model = new ModelImport(models, ModelFolderTest.ABI).fromZip(open((String) name));
            model.checkFor(ModelFolderTest.ABI);
            assertEquals((String) name, "GhostNet_x0_5", model.spec.name);
            // What the phone does not use is not kept.
            assertEquals(5, model.folder.list().length);
        }
        assertEquals("one folder for one manifest", 1, models.list().length);
    }

    @Test
    public void attacksAndDamageAreRefusedAndLeaveNothing() throws Exception {
        File models = models();
        for (Object each : Golden.list("bad_zips")) {
            Map<?, ?> golden = (Map<?, ?>) each;
            String name = (String) golden.get("file");
            ModelImport importer =
                    new ModelImport(models, ModelFolderTest.ABI) {
                        @Override
                        protected long maxBytes() {
                            return 5L << 20;
                        }
                    };
            try {
                importer.fromZip(open(name));
                fail(name);
            } catch (Problem problem) {
                assertEquals(name, golden.get("code"), problem.code().name());
            }
            assertArrayEquals(name, new String[0], models.list());
            assertArrayEquals(name, new String[] {"models"}, models.getParentFile().list());
        }
    }

    @Test
    public void aFolderBecomesTheSameModelAsItsArchive() throws Exception {
        File models = models();
        ModelImport importer = new ModelImport(models, ModelFolderTest.ABI);
        ModelImport.Source folder = source(new File(Golden.FOLDER, "model"));
        assertFalse(importer.placeOf(folder).exists());
        ModelFolder model = importer.fromFiles(folder, "model");
        assertEquals(model.folder, importer.placeOf(folder));
        assertEquals(model.folder, importer.fromZip(open("model.zip")).folder);
    }

    @Test
    public void anUpdateOfTheAppRemovesItsOldModelsAndNoOthers() throws Exception {
        File models = models();
        ModelImport importer = new ModelImport(models, ModelFolderTest.ABI);
        final ModelImport.Source first = source(new File(Golden.FOLDER, "model"));
        // The same model as another training would export it.
        ModelImport.Source second =
                new ModelImport.Source() {
                    @Override
                    public InputStream open(String name) throws IOException {
                        InputStream in = first.open(name);
                        return name.equals(ModelSpec.FILE_NAME)
                                ? new SequenceInputStream(in, new ByteArrayInputStream(new byte[] {'\n'}))
                                : in;
                    }
                };
        OwnModels own = new OwnModels(models, importer);
        Problem missing = own.bring(Collections.singletonMap("old", first));
        assertEquals(null, missing);
        assertTrue(importer.placeOf(first).isDirectory());
        assertEquals(null, own.bring(Collections.singletonMap("new", second)));
        assertTrue(importer.placeOf(second).isDirectory());
        assertFalse("the old one is gone", importer.placeOf(first).exists());
        importer.fromFiles(first, "imported");
        assertEquals(null, own.bring(Collections.<String, ModelImport.Source>emptyMap()));
        assertFalse(importer.placeOf(second).exists());
        assertTrue("the user's own stays", importer.placeOf(first).isDirectory());
    }

    @Test
    public void aBrokenModelOfTheAppDoesNotHideTheOthers() throws Exception {
        File models = models();
        Map<String, ModelImport.Source> sources = new LinkedHashMap<>();
        sources.put("a", source(temporary.newFolder()));
        sources.put("b", source(new File(Golden.FOLDER, "model")));
        ModelImport importer = new ModelImport(models, ModelFolderTest.ABI);
        Problem missing = new OwnModels(models, importer).bring(sources);
        assertEquals(Problem.Code.NO_MANIFEST, missing.code());
        assertTrue(importer.placeOf(sources.get("b")).isDirectory());
    }

    @Test
    public void aFolderWithoutManifestOrWithoutAFileIsTold() throws Exception {
        final File models = models();
        expect(Problem.Code.NO_MANIFEST, source(temporary.newFolder()), models);
        final ModelImport.Source whole = source(new File(Golden.FOLDER, "model"));
        ModelImport.Source part =
                new ModelImport.Source() {
                    @Override
                    public InputStream open(String name) throws IOException {
                        return name.endsWith(".nb") ? null : whole.open(name);
                    }
                };
        expect(Problem.Code.MISSING_FILE, part, models);
    }

    private static void expect(Problem.Code code, ModelImport.Source source, File models) {
        try {
            new ModelImport(models, ModelFolderTest.ABI).fromFiles(source, "model");
            fail("no " + code);
        } catch (Problem problem) {
            assertEquals(code, problem.code());
        }
        assertArrayEquals(new String[0], models.list());
    }

    @Test
    public void aFullDiskIsToldBeforeItIsFull() throws Exception {
        File models = models();
        ModelImport full =
                new ModelImport(models, ModelFolderTest.ABI) {
                    @Override
                    protected long freeBytes() {
                        return 3L << 20;
                    }
                };
        try {
            full.fromZip(open("model.zip"));
            fail("written to a full disk");
        } catch (Problem problem) {
            assertEquals("NO_SPACE: 8, 3", problem.getMessage());
        }
        assertArrayEquals(new String[0], models.list());
    }

    @Test
    public void theSystemsWordsForAFullDiskAreUnderstood() throws Exception {
        ModelImport.Source failing =
                new ModelImport.Source() {
                    @Override
                    public InputStream open(String name) throws IOException {
                        throw new IOException("write failed: ENOSPC (No space left on device)");
                    }
                };
        expect(Problem.Code.NO_SPACE, failing, models());
    }

    @Test
    public void aFailedImportLeavesTheEarlierModel() throws Exception {
        File models = models();
        new ModelImport(models, ModelFolderTest.ABI).fromZip(open("model.zip"));
        try {
            new ModelImport(models, ModelFolderTest.ABI).fromZip(new ByteArrayInputStream(new byte[100]));
            fail("zeros are no archive");
        } catch (Problem problem) {
            assertEquals(Problem.Code.BAD_ZIP, problem.code());
        }
        ModelFolder.open(models.listFiles()[0]).checkFor(ModelFolderTest.ABI);
    }
}

package org.ppghost.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;

import java.util.Locale;
import java.util.Map;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.Test;

public final class WordsTest {

    private static final Pattern PLACE = Pattern.compile("%(\\d)\\$s|%%|%");

    @Test
    public void bothLanguagesHaveTheSameSentencesWithTheSamePlaces() throws Exception {
        Map<String, String> english = XmlWords.strings("values");
        Map<String, String> chinese = XmlWords.strings("values-zh");
        assertEquals(english.keySet(), chinese.keySet());
        for (String name : english.keySet()) {
            assertEquals(name, places(english.get(name)), places(chinese.get(name)));
            assertFalse(name, chinese.get(name).trim().isEmpty());
        }
    }

    @Test
    public void everyProblemHasItsSentence() throws Exception {
        Map<String, String> english = XmlWords.strings("values");
        int count = 0;
        for (Problem.Code code : Problem.Code.values()) {
            String sentence = english.get("problem_" + code.name().toLowerCase(Locale.ROOT));
            assertTrue(code.name(), sentence != null);
            assertEquals(code.name(), code.words(), places(sentence).size());
        }
        for (String name : english.keySet()) {
            count += name.startsWith("problem_") ? 1 : 0;
        }
        assertEquals(Problem.Code.values().length, count);
    }

    private static TreeSet<String> places(String sentence) {
        TreeSet<String> places = new TreeSet<>();
        for (Matcher matcher = PLACE.matcher(sentence); matcher.find(); ) {
            assertFalse(sentence, matcher.group().equals("%"));
            if (matcher.group(1) != null) {
                places.add(matcher.group(1));
            }
        }
        return places;
    }
}

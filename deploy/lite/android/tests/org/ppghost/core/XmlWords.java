package org.ppghost.core;

import java.io.File;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import javax.xml.parsers.DocumentBuilderFactory;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;

/** The app's own sentences, read from its resources. */
final class XmlWords implements Words {

    private final Map<String, String> strings;

    XmlWords(String folder) throws Exception {
        strings = strings(folder);
    }

    static Map<String, String> strings(String folder) throws Exception {
        File file = new File(System.getProperty("res"), folder + "/strings.xml");
        NodeList nodes =
                DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(file).getElementsByTagName("string");
        Map<String, String> strings = new TreeMap<>();
        for (int i = 0; i < nodes.getLength(); i++) {
            Element element = (Element) nodes.item(i);
            strings.put(element.getAttribute("name"), element.getTextContent().replace("\\n", "\n"));
        }
        return strings;
    }

    @Override
    public String get(String name, Object... parts) {
        String sentence = strings.get(name);
        if (sentence == null) {
            throw new AssertionError("no sentence " + name);
        }
        return String.format(Locale.ROOT, sentence, parts);
    }
}

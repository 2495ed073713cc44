package fr.example.cds;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.rest.api.MethodOutcome;
import ca.uhn.fhir.rest.api.SearchStyleEnum;
import ca.uhn.fhir.rest.api.SummaryEnum;
import ca.uhn.fhir.rest.client.api.IGenericClient;
import ca.uhn.fhir.rest.client.interceptor.BearerTokenAuthInterceptor;
import ca.uhn.fhir.rest.gclient.TokenClientParam;
import ca.uhn.fhir.rest.server.exceptions.PreconditionFailedException;
import ca.uhn.fhir.rest.server.exceptions.ResourceVersionConflictException;
import java.util.Date;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.ThreadLocalRandom;
import org.hl7.fhir.r4.model.Bundle;
import org.hl7.fhir.r4.model.Bundle.BundleEntryComponent;
import org.hl7.fhir.r4.model.Bundle.HTTPVerb;
import org.hl7.fhir.r4.model.CapabilityStatement;
import org.hl7.fhir.r4.model.CareTeam;
import org.hl7.fhir.r4.model.CareTeam.CareTeamStatus;
import org.hl7.fhir.r4.model.IdType;
import org.hl7.fhir.r4.model.Identifier;
import org.hl7.fhir.r4.model.OperationOutcome;
import org.hl7.fhir.r4.model.Patient;
import org.hl7.fhir.r4.model.Reference;
import org.hl7.fhir.r4.model.Resource;

/**
 * Care circles through the broker with HAPI's client: search, next page, read, versions, creation, update, transaction.
 *
 * <p>Written against {@code make demo}, with its made-up people; each run writes persons of its own. Elsewhere set TOKEN
 * to an access token with the scopes system/*.cruds. To a client the broker is one FHIR server.
 */
public final class CareCircles {
    private static final String INS = "urn:oid:1.2.250.1.213.1.4.10"; // the test system's; real ones: …1.4.8
    private static final String PROFILE =
            "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-ihe-careteam";

    private final IGenericClient client;

    private CareCircles(IGenericClient client) {
        this.client = client;
    }

    public static void main(String[] arguments) {
        String base = arguments.length > 0 ? arguments[0] : "http://127.0.0.1:8080/fhir";
        FhirContext context = FhirContext.forR4();
        context.getRestfulClientFactory().setSocketTimeout(30_000); // a search has its answer by the broker's deadline
        IGenericClient client = context.newRestfulGenericClient(base);
        String token = System.getenv("TOKEN");
        if (token != null) {
            client.registerInterceptor(new BearerTokenAuthInterceptor(token));
        }
        CareCircles example = new CareCircles(client);
        example.capabilities();
        CareTeam circle = example.searchAndPages();
        example.byIdentifier(circle);
        example.versions(circle);
        example.update(example.create());
        example.transaction();
    }

    /** What this federation offers; HAPI asks it by itself before anything else, to see that it is R4. */
    private void capabilities() {
        CapabilityStatement statement =
                client.capabilities().ofType(CapabilityStatement.class).summaryMode(SummaryEnum.FALSE).execute();
        say("capabilities: FHIR " + statement.getFhirVersion().toCode());
    }

    /** Flux 2a: active circles of every region, by pages of five. The links are the broker's. */
    private CareTeam searchAndPages() {
        Bundle page = client.search()
                .forResource(CareTeam.class)
                .where(CareTeam.STATUS.exactly().code("active"))
                .sort()
                .descending("_lastUpdated")
                .count(5)
                .returnBundle(Bundle.class)
                .execute();
        CareTeam first = null;
        TreeSet<String> seen = new TreeSet<>();
        TreeSet<String> managers = new TreeSet<>();
        int pages = 1;
        while (true) {
            for (BundleEntryComponent entry : page.getEntry()) {
                // The last entry may be an OperationOutcome, which names the managers that are missing and why.
                if (entry.getResource() instanceof CareTeam circle) {
                    seen.add(circle.getIdElement().getIdPart());
                    managers.add(circle.getIdElement().getIdPart().split("\\.")[0]);
                    first = first == null ? circle : first;
                } else if (entry.getResource() instanceof OperationOutcome outcome) {
                    say("search: " + outcome.getIssueFirstRep().getDetails().getText());
                }
            }
            if (page.getLink(Bundle.LINK_NEXT) == null) {
                break;
            }
            page = client.loadPage().next(page).execute();
            pages++;
        }
        say("search: " + seen.size() + " circles of " + managers + " on " + pages + " pages");
        return first;
    }

    /** By the person's INS: by POST, since it does not belong in an address that logs keep. */
    private void byIdentifier(CareTeam circle) {
        Patient person = client.read().resource(Patient.class).withId(circle.getSubject().getReference()).execute();
        String ins = person.getIdentifier().stream()
                .filter(one -> INS.equals(one.getSystem()))
                .findFirst()
                .orElseThrow()
                .getValue();
        Bundle found = client.search()
                .forResource(CareTeam.class)
                .where(new TokenClientParam("patient.identifier").exactly().systemAndCode(INS, ins))
                .include(CareTeam.INCLUDE_SUBJECT)
                .usingStyle(SearchStyleEnum.POST)
                .returnBundle(Bundle.class)
                .execute();
        long circles = found.getEntry().stream().filter(one -> one.getResource() instanceof CareTeam).count();
        long persons = found.getEntry().stream().filter(one -> one.getResource() instanceof Patient).count();
        say("by identifier: " + circles + " circle, " + persons + " person");
    }

    /** Flux 2b: read, a version of it, and all of them. */
    private void versions(CareTeam circle) {
        String id = circle.getIdElement().getIdPart();
        CareTeam now = client.read().resource(CareTeam.class).withId(id).execute();
        String version = now.getIdElement().getVersionIdPart();
        CareTeam then = client.read().resource(CareTeam.class).withIdAndVersion(id, version).execute();
        Bundle history = client.history()
                .onInstance(new IdType("CareTeam", id))
                .returnBundle(Bundle.class)
                .execute();
        say("read: version " + version + " as read: " + now.equalsDeep(then));
        say("history: as many versions: " + (history.getEntry().size() == Integer.parseInt(version)));
    }

    /** Flux 1a and 1b. The broker finds the person's home by the address; a second circle of a person is refused. */
    private CareTeam create() {
        MethodOutcome person = client.create().resource(someone()).execute();
        CareTeam circle = circleOf(person.getId().toUnqualifiedVersionless().getValue());
        MethodOutcome made = createOnce(circle);
        MethodOutcome again = createOnce(circle); // repeated, as after a lost answer
        boolean twice = Boolean.TRUE.equals(again.getCreated()); // null where the answer was 200
        say("create: made now: " + made.getCreated() + ", and then again: " + twice);
        try {
            client.create().resource(circleOf(circle.getSubject().getReference())).execute();
        } catch (ResourceVersionConflictException refused) { // so HAPI calls every 409
            say("create: a second circle of that person: " + refused.getStatusCode());
        }
        return client.read().resource(CareTeam.class).withId(made.getId().toUnqualifiedVersionless()).execute();
    }

    /** If-None-Exist: what is there already is answered, and not made again. */
    private MethodOutcome createOnce(CareTeam circle) {
        Identifier own = circle.getIdentifierFirstRep();
        return client.create()
                .resource(circle)
                .conditional()
                .where(CareTeam.IDENTIFIER.exactly().systemAndCode(own.getSystem(), own.getValue()))
                .execute();
    }

    /** Flux 4b: only if nobody else changed it meanwhile. HAPI sends If-Match where the id has a version. */
    private void update(CareTeam circle) {
        IdType asRead = circle.getIdElement();
        circle.setStatus(CareTeamStatus.SUSPENDED);
        MethodOutcome changed = client.update().resource(circle).withId(asRead).execute();
        say("update: a new version: " + !changed.getId().getVersionIdPart().equals(asRead.getVersionIdPart()));
        try {
            client.update().resource(circle).withId(asRead).execute();
        } catch (PreconditionFailedException refused) {
            say("update: from the old version: " + refused.getStatusCode());
        }
    }

    /** Flux 1c: a person and their circle, both or none. */
    private void transaction() {
        String fullUrl = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0";
        Bundle bundle = new Bundle().setType(Bundle.BundleType.TRANSACTION);
        add(bundle, fullUrl, "Patient", someone());
        add(bundle, null, "CareTeam", circleOf(fullUrl));
        Bundle answered = client.transaction().withBundle(bundle).execute();
        List<String> statuses = answered.getEntry().stream()
                .map(one -> one.getResponse().getStatus().substring(0, 3))
                .toList();
        say("transaction: " + statuses);
    }

    private static void add(Bundle bundle, String fullUrl, String type, Resource resource) {
        BundleEntryComponent entry = bundle.addEntry().setFullUrl(fullUrl).setResource(resource);
        entry.getRequest().setMethod(HTTPVerb.POST).setUrl(type);
    }

    /** Made up: an INS of the test system with its key (97 minus the number modulo 97). */
    private static Patient someone() {
        long number = 2_510_999_000_000L + ThreadLocalRandom.current().nextInt(1_000_000);
        Patient person = new Patient();
        person.addIdentifier().setSystem(INS).setValue(number + String.format("%02d", 97 - number % 97));
        person.addName().setFamily("EXEMPLE").addGiven("Camille");
        person.addAddress().setPostalCode("35000");
        return person;
    }

    private static CareTeam circleOf(String person) {
        CareTeam circle = new CareTeam();
        circle.getMeta().addProfile(PROFILE);
        circle.addIdentifier()
                .setSystem("https://example.org/cercles")
                .setValue(Long.toHexString(ThreadLocalRandom.current().nextLong()));
        circle.setStatus(CareTeamStatus.ACTIVE).setName("Cercle de soins").setSubject(new Reference(person));
        circle.getPeriod().setStart(new Date());
        return circle;
    }

    private static void say(String line) {
        System.out.println(line);
    }
}

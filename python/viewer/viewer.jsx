// The page of `h5lake browse`: H5Web's viewer, with a menu of the versions of the container. See python/src/h5lake/_browse.py.

import "@h5web/app/styles.css";
import "./viewer.css";

import { App, createBasicFetcher, H5GroveProvider } from "@h5web/app";
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

// The token of the address is sent with each request, so that no other page and no other user can read the container.
const headers = { Authorization: `Bearer ${new URLSearchParams(location.search).get("token") ?? ""}` };
const fetcher = createBasicFetcher({ headers });

async function fetched(path) {
  const answer = await fetch(path, { headers });
  if (!answer.ok) {
    throw new Error(await answer.text());
  }
  return answer.json();
}

function label({ number, time, message, tags }) {
  const names = tags.length ? ` [${tags.join(", ")}]` : "";
  return `version ${number}, ${time.slice(0, 19).replace("T", " ")}${names}${message ? ` ${message.split("\n")[0]}` : ""}`;
}

function Page() {
  const [known, setKnown] = useState(null);
  const [shown, setShown] = useState("");
  const [failure, setFailure] = useState("");
  const load = () => fetched("versions").then(setKnown).catch((error) => setFailure(error.message));
  useEffect(() => void load(), []);
  if (failure) {
    return <p className="failure">{failure}</p>;
  }
  if (!known) {
    return null;
  }
  const file = shown || known.file;
  return (
    <>
      <header>
        <strong title={known.file}>{known.file.split("/").pop()}</strong>
        {known.versions.length > 0 && (
          <select aria-label="Version" value={shown} onChange={(event) => setShown(event.target.value)} onMouseDown={load}>
            <option value="">newest version</option>
            {known.versions.map((version) => (
              <option key={version.number} value={version.file}>
                {label(version)}
              </option>
            ))}
          </select>
        )}
      </header>
      <main>
        <H5GroveProvider key={file} url={new URL("h5grove", location.href).href} filepath={file} fetcher={fetcher}>
          <App />
        </H5GroveProvider>
      </main>
    </>
  );
}

createRoot(document.getElementById("page")).render(<Page />);

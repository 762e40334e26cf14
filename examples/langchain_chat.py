"""LangChain: a chain over an adapter, and its stream. Needs ``pip install langchain-openai``."""

import os

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model="pirate",
    base_url=os.environ.get("VENEER_URL", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("VENEER_API_KEY", "none"),
    max_completion_tokens=80,
)
chain = ChatPromptTemplate.from_template("What does a {thing} do?") | model | StrOutputParser()

print("Whole:", chain.invoke({"thing": "lighthouse"}))

print("Streamed: ", end="")
for text in chain.stream({"thing": "lighthouse"}):
    print(text, end="", flush=True)
print()
